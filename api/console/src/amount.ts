// Amounts are integers of the currency's minor unit. They are never divided as floating point numbers.

const digitsOf = new Map<string, number>();

// fractionDigits is the currency's exponent as the browser knows it: 2 for EUR, 0 for JPY, 3 for KWD, and 2 for what
// it does not know. Where it differs from ISO 4217, the integer that stands beside every amount is right.
export function fractionDigits(currency: string): number {
  let digits = digitsOf.get(currency);
  if (digits === undefined) {
    try {
      digits = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2;
    } catch {
      digits = 2; // not three letters
    }
    digitsOf.set(currency, digits);
  }
  return digits;
}

// decimal is a minor amount in the major unit, with a point: decimal(1050, 'EUR') is 10.50.
export function decimal(minor: number, currency: string): string {
  const digits = fractionDigits(currency);
  const sign = minor < 0 ? '-' : '';
  const text = BigInt(Math.abs(minor)).toString().padStart(digits + 1, '0');
  return sign + (digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`);
}

const formats = new Map<string, Intl.NumberFormat>();

// money is an amount as the reader's country writes it, with the currency: 10,50 EUR.
export function money(minor: number, currency: string): string {
  if (!Number.isSafeInteger(minor)) return `≈ ${minor} ${currency}`; // beyond 2^53: only returns lift a balance there
  let format = formats.get(currency);
  if (!format) {
    const digits = fractionDigits(currency);
    try {
      format = new Intl.NumberFormat(undefined, { style: 'currency', currency, currencyDisplay: 'code', minimumFractionDigits: digits, maximumFractionDigits: digits });
    } catch {
      return `${decimal(minor, currency)} ${currency}`;
    }
    formats.set(currency, format);
  }
  return format.format(decimal(minor, currency) as `${number}`);
}

const counts = new Intl.NumberFormat();

export function count(n: number): string {
  return counts.format(n);
}

const largest = 2n ** 53n - 1n;

// parseAmount reads what a person typed in the major unit: 10, 10.5 and 10.50 EUR are 1000, 1050 and 1050. A comma
// is refused: 1,050 is one amount here and another one there.
export function parseAmount(text: string, currency: string): { minor: number } | { mistake: string } {
  const digits = fractionDigits(currency);
  const like = decimal(digits === 0 ? 10 : 1050, digits === 0 ? currency : 'EUR');
  const found = /^(\d+)(?:\.(\d*))?$/.exec(text.trim());
  if (!found) return { mistake: `Write a number such as ${like}${text.includes(',') ? ', without commas' : ''}.` };
  const [, whole = '', fraction = ''] = found;
  if (fraction.length > digits) {
    return { mistake: digits === 0 ? `${currency} has no decimals.` : `${currency} has ${digits} decimals at most.` };
  }
  const minor = BigInt(whole + fraction.padEnd(digits, '0'));
  if (minor < 1n) return { mistake: 'The amount has to be above zero.' };
  if (minor > largest) return { mistake: `The largest amount is ${decimal(Number(largest), currency)}.` };
  return { minor: Number(minor) };
}
