import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A deposit to each wallet that was made: common readers refuse a contract with links that have a body."""
    for name in ("WalletCreated", "WalletReplayed", "WalletRead"):
        raw_schema["components"]["responses"][name]["links"]["deposit"] = {
            "operationId": "createOperation",
            "requestBody": {"walletId": "$response.body#/walletId", "operationType": "DEPOSIT", "amount": 1050},
        }


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
