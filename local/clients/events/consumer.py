"""Keeps the balances of all wallets by the topic of outcomes alone, as asyncapi.yaml says, with the types that are generated from it.

Each change is a line: walletId, version, balance, held, and how many operations it has taken of the wallet.
"""

import os
import sys
import urllib.request
from dataclasses import dataclass
from uuid import UUID, uuid4

from confluent_kafka import Consumer, KafkaException
from pydantic import BaseModel, ValidationError

from events import Operation, Run


class Unfinished(BaseModel):
    status: str


class Page(BaseModel):
    items: list[Operation | Unfinished]


@dataclass
class Wallet:
    version: int
    balance: int
    held: int
    taken: int


def missing(wallet_id: UUID, after: int) -> list[Operation]:
    """Reads the finished operations that follow, from the statement."""
    url = f"{os.environ['API_URL']}/api/v1/wallets/{wallet_id}/operations?after={after}&order=asc&limit=500"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["API_KEY"]})
    with urllib.request.urlopen(request, timeout=10) as answer:
        page = Page.model_validate_json(answer.read())
    return [item for item in page.items if isinstance(item, Operation)]


def take(wallets: dict[UUID, Wallet], run: Run) -> bool:
    """Returns whether the run has told something new."""
    wallet = wallets.get(run.walletId)
    if wallet is None:  # the first message of a wallet may begin anywhere
        wallet = wallets[run.walletId] = Wallet(run.fromSequence - 1, 0, 0, 0)
    while run.fromSequence > wallet.version + 1:
        operations = missing(run.walletId, wallet.version)
        if not operations:
            break  # the system has lost them by a failover, and gives their sequences again
        for operation in operations:
            wallet.version, wallet.balance, wallet.held = operation.sequence, operation.balanceAfter, operation.heldAfter
        wallet.taken += len(operations)
    if run.version <= wallet.version:
        return False  # it has come before
    wallet.taken += sum(operation.sequence > wallet.version for operation in run.operations)
    wallet.version, wallet.balance, wallet.held = run.version, run.balance, run.held
    return True


def main() -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": f"balances-{uuid4()}",  # what it knows is in memory: it begins anew each time
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ["EVENTS_TOPIC"]])
    wallets: dict[UUID, Wallet] = {}
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if error := message.error():
            if error.fatal():
                raise KafkaException(error)
            continue
        value = message.value()
        if not isinstance(value, bytes):
            continue
        try:
            run = Run.model_validate_json(value)
        except ValidationError as e:
            sys.exit(f"not what asyncapi.yaml says: {value!r}: {e}")
        while True:
            try:
                new = take(wallets, run)
                break
            except OSError as e:  # the api is away: what is missing is read later
                print(e, file=sys.stderr)
        if new:
            wallet = wallets[run.walletId]
            print(run.walletId, wallet.version, wallet.balance, wallet.held, wallet.taken, flush=True)


main()
