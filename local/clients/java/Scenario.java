import java.time.OffsetDateTime;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import wallet.ApiClient;
import wallet.ApiException;
import wallet.ApiResponse;
import wallet.api.HoldsApi;
import wallet.api.OperationsApi;
import wallet.api.WalletsApi;
import wallet.model.CaptureRequest;
import wallet.model.Hold;
import wallet.model.HoldPage;
import wallet.model.HoldRequest;
import wallet.model.Operation;
import wallet.model.OperationPage;
import wallet.model.OperationRequest;
import wallet.model.OperationType;
import wallet.model.Order;
import wallet.model.Problem;
import wallet.model.ReleaseRequest;
import wallet.model.ReverseRequest;
import wallet.model.StateRequest;
import wallet.model.StatusFilter;
import wallet.model.TransferRequest;
import wallet.model.TypeFilter;
import wallet.model.Wallet;
import wallet.model.WalletOperationRequest;
import wallet.model.WalletRequest;
import wallet.model.WalletState;

/** Does, with the client that OpenAPI Generator makes, what every client does, and prints what it sees. */
public final class Scenario {
  private final OperationsApi operations;
  private final WalletsApi wallets;
  private final HoldsApi holds;

  private Scenario(String url, String key, String cell) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
    if (!cell.isEmpty()) { // where there are several, requests whose path has no wallet name one
      client.setRequestInterceptor(client.getRequestInterceptor().andThen(request -> request.header("Wallet-Cell", cell)));
    }
    operations = new OperationsApi(client);
    wallets = new WalletsApi(client);
    holds = new HoldsApi(client);
  }

  public static void main(String[] args) throws ApiException {
    String url = System.getenv("API_URL");
    String cell = Objects.requireNonNullElse(System.getenv("WALLET_CELL"), "");
    new Scenario(url, System.getenv("API_KEY"), cell).run(new Scenario(url, "lw_unknown", cell));
  }

  private void run(Scenario stranger) throws ApiException {
    Wallet wallet = wallets.createWallet(new WalletRequest().currency("EUR").metadata(Map.of("order", "815")), null);
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
      OperationPage page = operations.listOperations(id, after, 2, Order.ASC, null, null, null, null, null);
      for (Operation o : page.getItems()) {
        System.out.printf("statement: %d %s %d %s%n", o.getSequence(), o.getOperationType(), o.getAmount(), o.getStatus());
      }
      after = page.getNext();
    } while (after != null);

    money(id, first.getOperationId());

    problem(() -> stranger.wallets.getWallet(id, null, null, null, null));
    problem(() -> wallets.getWallet(UUID.randomUUID(), null, null, null, null));
    problem(() -> operations.createOperation(deposit.amount(9L), retriable, null));
    problem(() -> holds.captureHold(id, UUID.randomUUID(), new CaptureRequest(), null, null));
  }

  /** Holds, captures, releases, transfers, reverses and freezes. */
  private void money(UUID id, UUID deposit) throws ApiException {
    String wait = "wait=30";
    OffsetDateTime expires = OffsetDateTime.now().plusHours(1).truncatedTo(ChronoUnit.MICROS); // the api takes six decimals
    Operation hold = holds.createHold(id, new HoldRequest().amount(500L).expiresAt(expires), null, wait);
    System.out.printf("hold: %s, held %d, available %d%n", hold.getStatus(), hold.getHeldAfter(), hold.getAvailableAfter());
    HoldPage open = holds.listHolds(id, null, null);
    System.out.printf("open holds: %d, remaining %d%n", open.getItems().size(), open.getItems().get(0).getRemaining());
    for (CaptureRequest capture : List.of(new CaptureRequest().amount(200L)._final(false), new CaptureRequest())) {
      Operation captured = holds.captureHold(id, hold.getOperationId(), capture, null, wait);
      System.out.printf("captured: %d, held %d%n", captured.getAmount(), captured.getHeldAfter());
    }
    Hold closed = holds.getHold(id, hold.getOperationId());
    System.out.printf("hold: %s, captured %d%n", closed.getStatus(), closed.getCaptured());
    Operation second = holds.createHold(id, new HoldRequest().amount(100L), null, null);
    Operation released = holds.releaseHold(id, second.getOperationId(), new ReleaseRequest(), null, wait);
    System.out.printf("released: %d, available %d%n", released.getAmount(), released.getAvailableAfter());

    UUID other = wallets.createWallet(new WalletRequest().currency("EUR"), null).getWalletId();
    WalletOperationRequest topUp = new WalletOperationRequest().operationType(OperationType.DEPOSIT).amount(5L);
    System.out.printf("by path: balance %d%n", operations.createWalletOperation(other, topUp, null, wait).getBalanceAfter());
    Operation sent = operations.createTransfer(id, new TransferRequest().toWalletId(other).amount(40L), null, wait);
    System.out.printf("transfer: %s, to the other wallet %b%n",
        sent.getSettlement(), Objects.requireNonNull(sent.getCounterpart()).getWalletId().equals(other));
    Operation reversed = operations.reverseOperation(id, deposit, new ReverseRequest().amount(10L), null, wait);
    System.out.printf("reversed: %d, balance %d%n", reversed.getAmount(), reversed.getBalanceAfter());

    UUID holdId = hold.getOperationId();
    for (Operation o : operations.listOperations(id, null, null, Order.ASC, null, null, null, null, holdId).getItems()) {
      System.out.printf("of the hold: %s %d%n", o.getOperationType(), o.getAmount());
    }
    OperationPage found = operations.listOperations(
        id, null, null, null, TypeFilter.TRANSFER, StatusFilter.PROCESSED, sent.getCreatedAt(), expires, null);
    for (Operation o : found.getItems()) {
      System.out.printf("found: %s %d%n", o.getOperationType(), o.getAmount());
    }
    Wallet then = wallets.getWallet(id, null, null, null, hold.getCreatedAt());
    System.out.printf("when it was held: balance %d, held %d%n", then.getBalance(), then.getHeld());
    UUID third = holds.createHold(id, new HoldRequest().amount(50L), null, null).getOperationId();
    Operation sold = holds.captureHold(id, third, new CaptureRequest().toWalletId(other), null, wait);
    System.out.printf("captured for the other wallet: %d %s%n", sold.getAmount(), sold.getSettlement());
    problem(() -> operations.reverseOperation(id, sent.getOperationId(), new ReverseRequest(), null, null));

    StateRequest freeze = new StateRequest().state(WalletState.FROZEN).reason("case 17");
    Operation frozen = wallets.setWalletState(id, freeze, null, wait);
    System.out.printf("frozen: %s, then %s%n", frozen.getStatus(), withdraw(id, 1).getFailureReason());
    Wallet wallet = wallets.getWallet(id, null, null, null, null);
    System.out.printf("wallet: %s, order %s%n", wallet.getState(), Objects.requireNonNull(wallet.getMetadata()).get("order"));
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
