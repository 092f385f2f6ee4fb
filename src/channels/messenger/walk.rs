//! Walks recorded and made-up webhook bodies through the whole way in: `split`, then `normalize`.
