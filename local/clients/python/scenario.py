"""Does, with the client that openapi-python-client generates, what every client does, and prints what it sees."""

import os
from uuid import UUID, uuid4

from client import AuthenticatedClient
from client.api.operations import create_operation, list_operations
from client.api.wallets import create_wallet, get_wallet
from client.models import Operation, OperationPage, OperationRequest, OperationType, Order, Problem, Wallet, WalletRequest
from client.types import UNSET


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(url, key)
    wallet = create_wallet.sync(client=client, body=WalletRequest(currency="EUR"))
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
    print(f"withdrawal: {paid.status.value}, balance {paid.balance_after}")
    refused = withdraw(client, wallet.wallet_id, 5000)
    print(f"overdraft: {refused.status.value}, {refused.failure_reason}")

    after: int | None = 0
    while after is not None:
        page = list_operations.sync(wallet.wallet_id, client=client, limit=2, order=Order.ASC, after=after or UNSET)
        assert isinstance(page, OperationPage), page
        for o in page.items:
            print(f"statement: {o.sequence} {o.operation_type.value} {o.amount} {o.status.value}")
        after = page.next_

    print_problem(get_wallet.sync(wallet.wallet_id, client=AuthenticatedClient(url, "lw_unknown")))
    print_problem(get_wallet.sync(uuid4(), client=client))
    deposit.amount = 9
    print_problem(create_operation.sync(client=client, body=deposit, idempotency_key=retriable))


def withdraw(client: AuthenticatedClient, wallet_id: UUID, amount: int) -> Operation:
    body = OperationRequest(wallet_id, OperationType.WITHDRAW, amount)
    operation = create_operation.sync(client=client, body=body, prefer="wait=30")
    assert isinstance(operation, Operation), operation
    return operation


def print_problem(answer: object) -> None:
    assert isinstance(answer, Problem), answer
    print(f"problem: {answer.status} {answer.code}")


main(os.environ["API_URL"], os.environ["API_KEY"])
