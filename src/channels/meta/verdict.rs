//! What may become of a Graph API call, in the words of whoever has to act on it.

use std::time::Duration;

/// What became of a call, as far as anybody can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted under this message id.
    Sent {
        /// Meta's id of the message.
        mid: String,
    },
    /// Not sent; the same may work later.
    Retry {
        /// How long to wait at least, where Meta says so.
        after: Option<Duration>,
        /// How often to repeat it at most; nothing: for as long as the window is open.
        at_most: Option<u32>,
        /// What Meta said.
        why: GraphError,
    },
    /// Not sent: too many calls. Nothing of this bucket should be tried before `after`.
    BackOff {
        /// Whose calls were too many.
        bucket: Bucket,
        /// How long, where Meta says so.
        after: Option<Duration>,
        /// What Meta said.
        why: GraphError,
    },
    /// Perhaps sent: wait for the echo, never send blindly again.
    MaybeSent {
        /// What went wrong.
        why: GraphError,
    },
    /// The token is dead; a person must connect the page again.
    Reauth {
        /// What Meta said.
        why: GraphError,
    },
    /// The person's last message is too long ago.
    WindowClosed {
        /// What Meta said.
        why: GraphError,
    },
    /// This person cannot be reached until they write again.
    Recipient {
        /// What Meta said.
        why: GraphError,
    },
    /// This message cannot be sent as it is; another can.
    Content {
        /// What Meta said.
        why: GraphError,
    },
    /// The app or page lacks a permission, a feature or a setting.
    Config {
        /// What Meta said.
        why: GraphError,
    },
    /// Meta restricts us: stop, and tell people.
    Alert {
        /// What is restricted.
        bucket: Bucket,
        /// What Meta said.
        why: GraphError,
    },
    /// Another app has the thread.
    NotOwner {
        /// What Meta said.
        why: GraphError,
    },
    /// Failed for good, for no reason that calls for more.
    Fail {
        /// What Meta said.
        why: GraphError,
    },
}

impl Verdict {
    /// The error behind a verdict; only what was sent has none.
    #[must_use]
    pub fn error(&self) -> Option<&GraphError> {
        match self {
            Self::Sent { .. } => None,
            Self::Retry { why, .. }
            | Self::BackOff { why, .. }
            | Self::MaybeSent { why }
            | Self::Reauth { why }
            | Self::WindowClosed { why }
            | Self::Recipient { why }
            | Self::Content { why }
            | Self::Config { why }
            | Self::Alert { why, .. }
            | Self::NotOwner { why }
            | Self::Fail { why } => Some(why),
        }
    }
}

/// What shares one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// One person on one page.
    Person,
    /// One page.
    Page,
    /// One app with all its pages, of all tenants.
    App,
}

/// An error as Meta (or the way there) told it. Never contains a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code:?}, subcode {subcode:?}, HTTP {http_status:?}, trace {fbtrace_id:?})")]
pub struct GraphError {
    /// Meta's `code`.
    pub code: Option<i64>,
    /// Meta's `error_subcode`.
    pub subcode: Option<i64>,
    /// Meta's text for developers, or ours if there was no answer.
    pub message: String,
    /// Meta's own trace, for asking them.
    pub fbtrace_id: Option<String>,
    /// Status of the answer; nothing if there was none.
    pub http_status: Option<u16>,
}

impl GraphError {
    /// The person has no profile or we may not see it: no reason to hold up anything.
    #[must_use]
    pub fn is_no_profile(&self) -> bool {
        matches!(self.subcode.or(self.code), Some(33 | 2_018_218 | 2_018_247))
    }

    /// The fields asked for do not exist or need a permission: fewer may be answered.
    #[must_use]
    pub fn is_about_fields(&self) -> bool {
        !self.is_no_profile() && matches!(self.code, Some(10 | 100 | 200..=299))
    }
}
