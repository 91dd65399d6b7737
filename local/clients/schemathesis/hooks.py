import re

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

# Fields of which the contract demands something that OpenAPI 3.0 can only say in words: the size of metadata and
# its keys, how far a time may be ahead or behind, what goes with what, another wallet than that in the path.
IN_WORDS = {"at", "from", "to", "expiresAt", "metadata", "toWalletId", "since"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A deposit to each wallet that was made: common readers refuse a contract with links that have a body."""
    for name in ("WalletCreated", "WalletReplayed", "WalletRead"):
        raw_schema["components"]["responses"][name]["links"]["deposit"] = {
            "operationId": "createOperation",
            "requestBody": {"walletId": "$response.body#/walletId", "operationType": "DEPOSIT", "amount": 1050},
        }


@schemathesis.hook
def before_call(context, case, kwargs):
    """No answer depends on a name server: what is a webhook's URL leads to this machine, which the system may call."""
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("url"), str):
        body["url"] = re.sub(r"^(https?://)[^/?#@:]+", r"\g<1>127.0.0.1", body["url"])


@schemathesis.hook
def filter_body(context, body):
    return whole_amounts(body)


def whole_amounts(value):
    """JSON Schema takes 1.0 for an integer; this API, like most money software, does not."""
    if isinstance(value, list):
        return all(map(whole_amounts, value))
    if isinstance(value, dict):
        return not isinstance(value.get("amount"), float) and all(map(whole_amounts, value.values()))
    return True


@schemathesis.check
def right_requests_are_accepted(ctx, response, case):
    """The check positive_data_acceptance, but for what the contract says in words."""
    if response.status_code == 400:
        fields = {error["field"].rsplit(".", 1)[-1] for error in response.json().get("errors", [])}
        if fields and fields <= IN_WORDS:
            return None
    return positive_data_acceptance(ctx, response, case)
