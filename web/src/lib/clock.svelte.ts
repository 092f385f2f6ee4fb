// The time, as the gateway has it, and a second hand for countdowns.

// Offers and windows end by the server's clock. The Date header is good to a second; smaller differences are left alone.
let skewMs = 0;

export function noteServerTime(date: string | null) {
  const served = Date.parse(date ?? '');
  if (Number.isNaN(served)) return;
  const difference = served + 500 - Date.now();
  skewMs = Math.abs(difference) > 2000 ? difference : 0;
}

export const serverNow = () => Date.now() + skewMs;

/** Now, to the second; whoever reads it in a component is drawn anew each second. */
class SecondHand {
  ms = $state(serverNow());

  constructor() {
    setInterval(() => (this.ms = serverNow()), 1000);
  }
}
export const now = new SecondHand();
