import java.util.Objects;
import java.util.UUID;
import wallet.ApiClient;
import wallet.ApiException;
import wallet.ApiResponse;
import wallet.api.OperationsApi;
import wallet.api.WalletsApi;
import wallet.model.Operation;
import wallet.model.OperationPage;
import wallet.model.OperationRequest;
import wallet.model.OperationType;
import wallet.model.Order;
import wallet.model.Problem;
import wallet.model.Wallet;
import wallet.model.WalletRequest;

/** Does, with the client that OpenAPI Generator makes, what every client does, and prints what it sees. */
public final class Scenario {
  private final OperationsApi operations;
  private final WalletsApi wallets;

  private Scenario(String url, String key) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
    operations = new OperationsApi(client);
    wallets = new WalletsApi(client);
  }

  public static void main(String[] args) throws ApiException {
    String url = System.getenv("API_URL");
    new Scenario(url, System.getenv("API_KEY")).run(new Scenario(url, "lw_unknown"));
  }

  private void run(Scenario stranger) throws ApiException {
    Wallet wallet = wallets.createWallet(new WalletRequest().currency("EUR"), null);
    System.out.printf("wallet: %s, balance %d%n", wallet.getCurrency(), wallet.getBalance());

    UUID id = wallet.getWalletId();
    String retriable = UUID.randomUUID().toString();
    OperationRequest deposit = request(id, OperationType.DEPOSIT, 1050);
    Operation first = operations.createOperation(deposit, retriable, null);
    ApiResponse<Operation> again = operations.createOperationWithHttpInfo(deposit, retriable, null);
    System.out.printf("deposit: sequence %d%n", first.getSequence());
    System.out.printf("retried: same operation %b, replayed %s%n",
        first.getOperationId().equals(again.getData().getOperationId()),
        again.getHeaders().get("idempotency-replayed").get(0));

    Operation paid = withdraw(id, 300);
    System.out.printf("withdrawal: %s, balance %d%n", paid.getStatus(), paid.getBalanceAfter());
    Operation refused = withdraw(id, 5000);
    System.out.printf("overdraft: %s, %s%n", refused.getStatus(), refused.getFailureReason());

    Long after = null;
    do {
      OperationPage page = operations.listOperations(id, after, 2, Order.ASC);
      for (Operation o : page.getItems()) {
        System.out.printf("statement: %d %s %d %s%n", o.getSequence(), o.getOperationType(), o.getAmount(), o.getStatus());
      }
      after = page.getNext();
    } while (after != null);

    problem(() -> stranger.wallets.getWallet(id, null, null, null));
    problem(() -> wallets.getWallet(UUID.randomUUID(), null, null, null));
    problem(() -> operations.createOperation(deposit.amount(9L), retriable, null));
  }

  private Operation withdraw(UUID wallet, long amount) throws ApiException {
    return operations.createOperation(request(wallet, OperationType.WITHDRAW, amount), UUID.randomUUID().toString(), "wait=30");
  }

  private static OperationRequest request(UUID wallet, OperationType type, long amount) {
    return new OperationRequest().walletId(wallet).operationType(type).amount(amount);
  }

  private interface Call {
    Object send() throws ApiException;
  }

  private static void problem(Call call) {
    try {
      throw new IllegalStateException("no problem, but " + call.send());
    } catch (ApiException e) {
      try {
        Problem problem = ApiClient.createDefaultObjectMapper().readValue(Objects.requireNonNull(e.getResponseBody()), Problem.class);
        System.out.printf("problem: %d %s%n", problem.getStatus(), problem.getCode());
      } catch (com.fasterxml.jackson.core.JsonProcessingException unreadable) {
        throw new IllegalStateException(unreadable);
      }
    }
  }
}
