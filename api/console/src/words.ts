import type { Operation } from '../client/types.gen';

const typeWords: Record<string, string> = {
  DEPOSIT: 'Deposit', WITHDRAW: 'Withdrawal', HOLD: 'Hold', CAPTURE: 'Capture', RELEASE: 'Release', EXPIRE: 'Expiry',
  REVERSE: 'Reversal', TRANSFER: 'Transfer', RECEIVE: 'Receipt', RETURN: 'Return', FREEZE: 'Freeze', ACTIVATE: 'Activation', CLOSE: 'Close',
};

// typeWord is an operation's type in words. One that is not known here stands as the API has it.
export function typeWord(type: string): string {
  return typeWords[type] ?? type;
}

export const operationTypes = Object.keys(typeWords);

const signs: Record<string, '+' | '−'> = { DEPOSIT: '+', RECEIVE: '+', RETURN: '+', WITHDRAW: '−', TRANSFER: '−', CAPTURE: '−' };

// sign says whether an operation brings money in or takes it out. A reversal does either; a hold neither.
export function sign(operation: Operation): '+' | '−' | '' {
  return operation.status === 'FAILED' ? '' : (signs[operation.operationType] ?? '');
}

const reasons: Record<string, string> = {
  WALLET_CLOSED: 'The wallet is closed.',
  WALLET_FROZEN: 'The wallet is frozen: nothing can be taken out.',
  WALLET_NOT_EMPTY: 'Only an empty wallet, without holds, can be closed.',
  HOLD_EXPIRED: 'The hold had expired when this was accepted.',
  HOLD_CLOSED: 'The hold was closed: captured, released, or never made.',
  LIMIT_REACHED: 'The wallet has 1,000 open holds, or this hold or operation has been named 100 times.',
  EXCEEDS_HOLD: 'More than remained of the hold.',
  EXCEEDS_ORIGINAL: 'More than is left to reverse of the operation.',
  INSUFFICIENT_FUNDS: 'More than was available when its turn came.',
  BALANCE_LIMIT: 'The balance would pass the largest amount that a wallet can have.',
};

// reason explains why an operation failed.
export function reason(failureReason: string | undefined): string {
  return failureReason ? (reasons[failureReason] ?? failureReason) : '';
}

const reversible = ['DEPOSIT', 'WITHDRAW', 'CAPTURE'];

export function isReversible(operation: Operation): boolean {
  return operation.status === 'PROCESSED' && reversible.includes(operation.operationType) && !operation.counterpart;
}

// isFinal is true when nothing about an operation changes any more: what it sent has arrived, or is back.
export function isFinal(operation: Operation): boolean {
  return operation.status !== 'PENDING' && operation.settlement !== 'PENDING';
}
