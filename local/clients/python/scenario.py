"""Does, with the client that openapi-python-client generates, what every client does, and prints what it sees."""

import os
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

from client import AuthenticatedClient
from client.api.holds import capture_hold, create_hold, get_hold, list_holds, release_hold
from client.api.operations import create_operation, list_operations
from client.api.operations import create_transfer, create_wallet_operation, reverse_operation
from client.api.operations import create_operations, find_operation, get_operation
from client.api.system import get_key, get_status
from client.api.wallets import create_wallet, get_wallet
from client.api.wallets import list_wallets, set_wallet_state
from client.api.webhooks import create_webhook, delete_webhook, get_webhook, list_webhook_attempts, list_webhooks
from client.api.webhooks import replay_webhook, rotate_webhook_secret, skip_webhook_run, test_webhook, update_webhook
from client.models import Operation, OperationPage, OperationRequest, OperationType, Order, Problem, Wallet, WalletRequest
from client.models import CaptureRequest, Counterpart, Hold, HoldPage, HoldRequest, Metadata, ReleaseRequest, ReverseRequest
from client.models import BatchOperation, BatchOperationType, BatchRequest, BatchResponse, Key, ReplayRequest, SkipRequest
from client.models import StateRequest, Status, StatusFilter, Timeline, TransferRequest, TypeFilter, WalletOperationRequest
from client.models import WalletPage, WalletState, Webhook, WebhookAttempts, WebhookPage, WebhookRequest, WebhookTask, WebhookUpdate
from client.types import UNSET


def main(url: str, key: str, cell: str) -> None:
    client = AuthenticatedClient(url, key)
    if cell:  # where there are several, requests whose path has no wallet name one
        client = client.with_headers({"Wallet-Cell": cell})
    wallet = create_wallet.sync(client=client, body=WalletRequest(currency="EUR", metadata=Metadata.from_dict({"order": "815"})))
    assert isinstance(wallet, Wallet), wallet
    print(f"wallet: {wallet.currency}, balance {wallet.balance}")

    deposit = OperationRequest(wallet.wallet_id, OperationType.DEPOSIT, 1050)
    retriable = str(uuid4())
    first = create_operation.sync(client=client, body=deposit, idempotency_key=retriable)
    again = create_operation.sync_detailed(client=client, body=deposit, idempotency_key=retriable)
    assert isinstance(first, Operation) and isinstance(again.parsed, Operation), (first, again)
    same = "true" if first.operation_id == again.parsed.operation_id else "false"
    print(f"deposit: sequence {first.sequence}")
    print(f"retried: same operation {same}, replayed {again.headers['Idempotency-Replayed']}")

    paid = withdraw(client, wallet.wallet_id, 300)
    print(f"withdrawal: {paid.status}, balance {paid.balance_after}")
    refused = withdraw(client, wallet.wallet_id, 5000)
    print(f"overdraft: {refused.status}, {refused.failure_reason}")

    after: int | None = 0
    while after is not None:
        page = list_operations.sync(wallet.wallet_id, client=client, limit=2, order=Order.ASC, after=after or UNSET)
        assert isinstance(page, OperationPage), page
        for o in page.items:
            print(f"statement: {o.sequence} {o.operation_type} {o.amount} {o.status}")
        after = page.next_

    money(client, wallet.wallet_id, first.operation_id, retriable)
    look(client)
    hear(client, wallet.wallet_id, wallet.created_at)

    print_problem(get_wallet.sync(wallet.wallet_id, client=AuthenticatedClient(url, "lw_unknown")))
    print_problem(get_wallet.sync(uuid4(), client=client))
    deposit.amount = 9
    print_problem(create_operation.sync(client=client, body=deposit, idempotency_key=retriable))
    print_problem(capture_hold.sync(wallet.wallet_id, uuid4(), client=client, body=CaptureRequest()))


def money(client: AuthenticatedClient, wallet_id: UUID, deposit_id: UUID, deposit_key: str) -> None:
    """Holds, captures, releases, transfers, reverses, finds it all again and freezes."""
    wait = "wait=30"
    expires = datetime.now(timezone.utc) + timedelta(hours=1)
    hold = operation(create_hold.sync(wallet_id, client=client, body=HoldRequest(500, expires_at=expires), prefer=wait))
    print(f"hold: {hold.status}, held {hold.held_after}, available {hold.available_after}")
    page = list_holds.sync(wallet_id, client=client)
    assert isinstance(page, HoldPage), page
    print(f"open holds: {len(page.items)}, remaining {page.items[0].remaining}")
    for body in CaptureRequest(amount=200, final=False), CaptureRequest():
        captured = operation(capture_hold.sync(wallet_id, hold.operation_id, client=client, body=body, prefer=wait))
        print(f"captured: {captured.amount}, held {captured.held_after}")
    closed = get_hold.sync(wallet_id, hold.operation_id, client=client)
    assert isinstance(closed, Hold), closed
    print(f"hold: {closed.status}, captured {closed.captured}")
    second = operation(create_hold.sync(wallet_id, client=client, body=HoldRequest(100)))
    released = operation(release_hold.sync(wallet_id, second.operation_id, client=client, body=ReleaseRequest(), prefer=wait))
    print(f"released: {released.amount}, available {released.available_after}")

    reference = str(uuid4())
    other = create_wallet.sync(client=client, body=WalletRequest(currency="EUR", reference=reference))
    assert isinstance(other, Wallet), other
    top_up = WalletOperationRequest(OperationType.DEPOSIT, 5)
    topped_up = operation(create_wallet_operation.sync(other.wallet_id, client=client, body=top_up, prefer=wait))
    print(f"by path: balance {topped_up.balance_after}")
    sent = operation(create_transfer.sync(wallet_id, client=client, body=TransferRequest(other.wallet_id, 40), prefer=wait))
    assert isinstance(sent.counterpart, Counterpart), sent
    arrives = "true" if sent.counterpart.wallet_id == other.wallet_id else "false"
    print(f"transfer: {sent.settlement}, to the other wallet {arrives}")
    reversal = ReverseRequest(amount=10)
    undone = operation(reverse_operation.sync(wallet_id, deposit_id, client=client, body=reversal, prefer=wait))
    print(f"reversed: {undone.amount}, balance {undone.balance_after}")

    statement = list_operations.sync(wallet_id, client=client, subject_id=hold.operation_id, order=Order.ASC)
    assert isinstance(statement, OperationPage), statement
    for o in statement.items:
        print(f"of the hold: {o.operation_type} {o.amount}")
    statement = list_operations.sync(
        wallet_id, client=client, type_=TypeFilter.TRANSFER, status=StatusFilter.PROCESSED, from_=sent.created_at, to=expires
    )
    assert isinstance(statement, OperationPage), statement
    for o in statement.items:
        print(f"found: {o.operation_type} {o.amount}")
    then = get_wallet.sync(wallet_id, client=client, at=hold.created_at)
    assert isinstance(then, Wallet), then
    print(f"when it was held: balance {then.balance}, held {then.held}")
    third = operation(create_hold.sync(wallet_id, client=client, body=HoldRequest(50)))
    capture = CaptureRequest(to_wallet_id=other.wallet_id)
    sold = operation(capture_hold.sync(wallet_id, third.operation_id, client=client, body=capture, prefer=wait))
    print(f"captured for the other wallet: {sold.amount} {sold.settlement}")
    print_problem(reverse_operation.sync(wallet_id, sent.operation_id, client=client, body=ReverseRequest()))

    in_batch = BatchOperation(other.wallet_id, BatchOperationType.DEPOSIT, 7)
    reused = BatchOperation(wallet_id, BatchOperationType.DEPOSIT, 9, idempotency_key=deposit_key)
    batch = create_operations.sync(client=client, body=BatchRequest([in_batch, reused]))
    assert isinstance(batch, BatchResponse), batch
    for item in batch.items:
        if isinstance(item, Operation):
            accepted = item.operation_id
            print(f"batch: sequence {item.sequence}")
        else:
            print(f"batch: {item.status} {item.code}")
    read = operation(get_operation.sync(other.wallet_id, accepted, client=client, prefer=wait))
    print(f"after the batch: {read.status}, balance {read.balance_after}")
    found = operation(find_operation.sync(deposit_id, client=client, timeline=True))
    assert isinstance(found.timeline, Timeline), found
    print(f"by its id: {found.operation_type} {found.amount}, pending before it {found.timeline.pending_before}")
    wallets = list_wallets.sync(client=client, reference=reference)
    assert isinstance(wallets, WalletPage), wallets
    for w in wallets.items:
        print(f"by its reference: the other wallet {truth(w.wallet_id == other.wallet_id)}, balance {w.balance}")

    freeze = StateRequest(WalletState.FROZEN, "case 17")
    frozen = operation(set_wallet_state.sync(wallet_id, client=client, body=freeze, prefer=wait))
    print(f"frozen: {frozen.status}, then {withdraw(client, wallet_id, 1).failure_reason}")
    wallet = get_wallet.sync(wallet_id, client=client)
    assert isinstance(wallet, Wallet) and isinstance(wallet.metadata, Metadata), wallet
    print(f"wallet: {wallet.state}, order {wallet.metadata['order']}")


def look(client: AuthenticatedClient) -> None:
    """Asks what the key may do, and how the system is."""
    key = get_key.sync(client=client)
    assert isinstance(key, Key), key
    print(f"key: may write operations {truth('operations:write' in key.scopes)}")
    status = get_status.sync(client=client)
    assert isinstance(status, Status), status
    print(f"status: a relay leads {truth(any(relay.leading for relay in status.relays or []))}")


def hear(client: AuthenticatedClient, wallet_id: UUID, since: datetime) -> None:
    """Makes a webhook, asks all that can be asked of it, and deletes it."""
    body = WebhookRequest("http://127.0.0.1:1/hooks", wallets=[wallet_id])
    created = webhook(create_webhook.sync(client=client, body=body))
    print(f"webhook: {created.state}, secret {truth(bool(created.secret))}")
    page = list_webhooks.sync(client=client, limit=500)
    assert isinstance(page, WebhookPage), page
    print(f"listed: {truth(any(w.id == created.id for w in page.items))}")
    changes = WebhookUpdate(description="receipts", enabled=False)
    changed = webhook(update_webhook.sync(created.id, client=client, body=changes))
    print(f"changed: {changed.description}, enabled {truth(changed.enabled)}")
    read = webhook(get_webhook.sync(created.id, client=client))
    print(f"read: wallets {len(read.wallets or [])}, secret {truth(bool(read.secret))}")
    rotated = webhook(rotate_webhook_secret.sync(created.id, client=client))
    print(f"rotated: another secret {truth(bool(rotated.secret) and rotated.secret != created.secret)}")
    attempts = list_webhook_attempts.sync(created.id, client=client)
    assert isinstance(attempts, WebhookAttempts), attempts
    print(f"attempts: {len(attempts.items)}")
    tested = test_webhook.sync(created.id, client=client)
    assert isinstance(tested, WebhookTask), tested
    print(f"test: has a message {truth(bool(tested.message_id))}")
    replayed = replay_webhook.sync(created.id, client=client, body=ReplayRequest(since))
    assert isinstance(replayed, WebhookTask), replayed
    print(f"replay: asked for later {truth(replayed.request_id > tested.request_id)}")
    print_problem(skip_webhook_run.sync(created.id, client=client, body=SkipRequest()))
    deleted = delete_webhook.sync_detailed(created.id, client=client)
    assert deleted.status_code == 204, deleted
    print_problem(get_webhook.sync(created.id, client=client))


def webhook(answer: object) -> Webhook:
    assert isinstance(answer, Webhook), answer
    return answer


def truth(fact: bool) -> str:
    return "true" if fact else "false"


def operation(answer: object) -> Operation:
    assert isinstance(answer, Operation), answer
    return answer


def withdraw(client: AuthenticatedClient, wallet_id: UUID, amount: int) -> Operation:
    body = OperationRequest(wallet_id, OperationType.WITHDRAW, amount)
    operation = create_operation.sync(client=client, body=body, prefer="wait=30")
    assert isinstance(operation, Operation), operation
    return operation


def print_problem(answer: object) -> None:
    assert isinstance(answer, Problem), answer
    print(f"problem: {answer.status} {answer.code}")


main(os.environ["API_URL"], os.environ["API_KEY"], os.environ.get("WALLET_CELL", ""))
