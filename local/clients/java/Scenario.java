import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.type.LogicalType;
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
import wallet.api.SystemApi;
import wallet.api.WalletsApi;
import wallet.api.WebhooksApi;
import wallet.model.BatchItem;
import wallet.model.BatchOperation;
import wallet.model.BatchOperationType;
import wallet.model.BatchRequest;
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
import wallet.model.RelayStatus;
import wallet.model.ReleaseRequest;
import wallet.model.ReplayRequest;
import wallet.model.ReverseRequest;
import wallet.model.SkipRequest;
import wallet.model.StateRequest;
import wallet.model.StatusFilter;
import wallet.model.TransferRequest;
import wallet.model.TypeFilter;
import wallet.model.Wallet;
import wallet.model.WalletOperationRequest;
import wallet.model.WalletRequest;
import wallet.model.WalletState;
import wallet.model.Webhook;
import wallet.model.WebhookRequest;
import wallet.model.WebhookTask;
import wallet.model.WebhookUpdate;

/** Does, with the client that OpenAPI Generator makes, what every client does, and prints what it sees. */
public final class Scenario {
  private final OperationsApi operations;
  private final WalletsApi wallets;
  private final HoldsApi holds;
  private final WebhooksApi webhooks;
  private final SystemApi system;

  private Scenario(String url, String key, String cell) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
    if (!cell.isEmpty()) { // where there are several, requests whose path has no wallet name one
      client.setRequestInterceptor(client.getRequestInterceptor().andThen(request -> request.header("Wallet-Cell", cell)));
    }
    // What is in a batch's answer is told apart by its status: an operation's is text, a problem's a number.
    ObjectMapper mapper = ApiClient.createDefaultObjectMapper();
    mapper.coercionConfigFor(LogicalType.Textual).setCoercion(CoercionInputShape.Integer, CoercionAction.Fail);
    client.setObjectMapper(mapper);
    operations = new OperationsApi(client);
    wallets = new WalletsApi(client);
    holds = new HoldsApi(client);
    webhooks = new WebhooksApi(client);
    system = new SystemApi(client);
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

    money(id, first.getOperationId(), retriable);
    look();
    hear(id, wallet.getCreatedAt());

    problem(() -> stranger.wallets.getWallet(id, null, null, null, null));
    problem(() -> wallets.getWallet(UUID.randomUUID(), null, null, null, null));
    problem(() -> operations.createOperation(deposit.amount(9L), retriable, null));
    problem(() -> holds.captureHold(id, UUID.randomUUID(), new CaptureRequest(), null, null));
  }

  /** Holds, captures, releases, transfers, reverses, finds it all again and freezes. */
  private void money(UUID id, UUID deposit, String depositKey) throws ApiException {
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

    String reference = UUID.randomUUID().toString();
    UUID other = wallets.createWallet(new WalletRequest().currency("EUR").reference(reference), null).getWalletId();
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

    batch(other, id, depositKey);
    Operation byId = operations.findOperation(deposit, true, null);
    System.out.printf("by its id: %s %d, pending before it %d%n",
        byId.getOperationType(), byId.getAmount(), Objects.requireNonNull(byId.getTimeline()).getPendingBefore());
    for (Wallet w : wallets.listWallets(reference, null, null).getItems()) {
      System.out.printf("by its reference: the other wallet %b, balance %d%n", w.getWalletId().equals(other), w.getBalance());
    }

    StateRequest freeze = new StateRequest().state(WalletState.FROZEN).reason("case 17");
    Operation frozen = wallets.setWalletState(id, freeze, null, wait);
    System.out.printf("frozen: %s, then %s%n", frozen.getStatus(), withdraw(id, 1).getFailureReason());
    Wallet wallet = wallets.getWallet(id, null, null, null, null);
    System.out.printf("wallet: %s, order %s%n", wallet.getState(), Objects.requireNonNull(wallet.getMetadata()).get("order"));
  }

  /** One operation of the batch is accepted, and one refused: it has the key of another. */
  private void batch(UUID other, UUID id, String depositKey) throws ApiException {
    BatchRequest batch = new BatchRequest()
        .addOperationsItem(new BatchOperation().walletId(other).operationType(BatchOperationType.DEPOSIT).amount(7L))
        .addOperationsItem(
            new BatchOperation().walletId(id).operationType(BatchOperationType.DEPOSIT).amount(9L).idempotencyKey(depositKey));
    UUID accepted = null;
    for (BatchItem item : operations.createOperations(batch, null).getItems()) {
      if (item.getActualInstance() instanceof Operation o) {
        accepted = o.getOperationId();
        System.out.printf("batch: sequence %d%n", o.getSequence());
      } else {
        System.out.printf("batch: %d %s%n", item.getProblem().getStatus(), item.getProblem().getCode());
      }
    }
    Operation read = operations.getOperation(other, Objects.requireNonNull(accepted), null, "wait=30");
    System.out.printf("after the batch: %s, balance %d%n", read.getStatus(), read.getBalanceAfter());
  }

  /** Asks what the key may do, and how the system is. */
  private void look() throws ApiException {
    System.out.printf("key: may write operations %b%n", system.getKey().getScopes().contains("operations:write"));
    List<RelayStatus> relays = Objects.requireNonNull(system.getStatus().getRelays());
    System.out.printf("status: a relay leads %b%n", relays.stream().anyMatch(RelayStatus::getLeading));
  }

  /** Makes a webhook, asks all that can be asked of it, and deletes it. */
  private void hear(UUID wallet, OffsetDateTime since) throws ApiException {
    WebhookRequest request = new WebhookRequest().url("http://127.0.0.1:1/hooks").wallets(List.of(wallet));
    Webhook created = webhooks.createWebhook(request, null);
    UUID id = created.getId();
    System.out.printf("webhook: %s, secret %b%n", created.getState(), created.getSecret() != null);
    List<Webhook> all = webhooks.listWebhooks(null, 500).getItems();
    System.out.printf("listed: %b%n", all.stream().anyMatch(w -> w.getId().equals(id)));
    Webhook changed = webhooks.updateWebhook(id, new WebhookUpdate().description("receipts").enabled(false));
    System.out.printf("changed: %s, enabled %b%n", changed.getDescription(), changed.getEnabled());
    Webhook read = webhooks.getWebhook(id);
    System.out.printf("read: wallets %d, secret %b%n", Objects.requireNonNull(read.getWallets()).size(), read.getSecret() != null);
    String rotated = webhooks.rotateWebhookSecret(id).getSecret();
    System.out.printf("rotated: another secret %b%n", rotated != null && !rotated.equals(created.getSecret()));
    System.out.printf("attempts: %d%n", webhooks.listWebhookAttempts(id).getItems().size());
    WebhookTask tested = webhooks.testWebhook(id);
    System.out.printf("test: has a message %b%n", tested.getMessageId() != null);
    WebhookTask replayed = webhooks.replayWebhook(id, new ReplayRequest().since(since));
    System.out.printf("replay: asked for later %b%n", replayed.getRequestId() > tested.getRequestId());
    problem(() -> webhooks.skipWebhookRun(id, new SkipRequest()));
    webhooks.deleteWebhook(id);
    problem(() -> webhooks.getWebhook(id));
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
