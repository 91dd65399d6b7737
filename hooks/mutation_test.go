package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

const hooksSQL = "../db/walletdb/hooks.sql.go"

var mutations = []mutation.Mutation{
	mutation.Of("a wallet has one delivery under way", "TestSimulation", "queue.go",
		"!of.listed && !of.flying && !q.waiting[of]", "!of.listed && !q.waiting[of]",
	),
	mutation.Of("nothing overtakes a run that fails", "TestSimulation", "queue.go",
		"of.repeat = len(d.messages)\n\tif len(d.messages) > 1 &&", "of.runs = append(of.runs[1:], of.runs[0])\n\tif len(d.messages) > 1 &&",
	),
	mutation.Of("only runs that join are merged", "TestMergedRunsAreOneRun", "queue.go",
		"of.runs[n].from == of.runs[n-1].version+1 &&", "",
	),
	mutation.Of("a cursor is finished where its messages are", "TestSimulation", "window.go",
		"if !w.finished(m.offset) && m.walletID", "if w.read++; !w.finished(m.offset) && m.walletID",
	),
	mutation.Of("nothing is early once something was not", "TestNothingIsPassedOverWhileTheClockIsSetBack", "window.go",
		"w.begun = w.begun || !q", "w.begun = !q",
	),
	mutation.Of("what seems older than where the log is read from is not early", "TestNothingIsPassedOverWhileTheClockIsSetBack", "message.go",
		" && !m.at.Before(f.since.Add(-2*lookBack))", "",
	),
	mutation.Of("what is out of order before the endpoint's time is early", "TestNothingIsPassedOverWhileTheClockIsSetBack", "message.go",
		"-2*lookBack", "-lookBack",
	),
	mutation.Of("the end of the session is noticed while it rests", "TestWhatIsUnderWayIsCutOffWithTheSession", "owner.go",
		"err := db.WaitOn(ctx, conn, saveInterval-time.Since(started)); err != nil", "err := error(nil); !service.Sleep(ctx, saveInterval-time.Since(started)) && err != nil",
	),
	mutation.Of("what is down is probed by one", "TestAReceiverThatCannotBeReachedIsProbedByOneDelivery", "queue.go",
		"q.flying > 0 || now.Before(q.next)", "now.Before(q.next)",
	),
	mutation.Of("failures at once count once", "TestAReceiverThatCannotBeReachedIsProbedByOneDelivery", "queue.go",
		"q.down() && d.started.Before(q.lastFailure)", "false",
	),
	mutation.Of("nothing beyond the window is sent", "TestARefusedRunStallsItsPartitionAtTheEndOfTheWindow", "window.go",
		"return w.within(w.read) && w.bytes", "return w.bytes",
	),
	mutation.Of("a finished offset stays finished when the cursor moves", "TestACursorIsASetOfFinishedOffsets", "cursor.go",
		"moved[i] |= c.bits[i+words+1] << (64 - rest)", "",
	),
	mutation.Of("what is passed takes its bits along", "TestACursorIsASetOfFinishedOffsets", "cursor.go",
		"*c = cursor{next: to}", "c.next = to",
	),
	mutation.Of("what the window has no room for is not passed", "TestAGapInTheLogIsPassedOnceWhatIsBeforeItIsFinished", "window.go",
		"w.read = min(m.offset, w.next+windowSize)", "w.read = m.offset",
	),
	mutation.Of("a release that is not needed any more is called off", "TestAnEndpointWhoseReleaseIsCalledOffGoesOn", "owner.go",
		"if e.release(releases) {", "if releases && e.release(true) {",
	),
	mutation.Of("an earlier term writes no state", "TestAWriteOfAnEarlierTermChangesNothing", hooksSQL,
		"WHERE s.endpoint_id = n.endpoint_id AND s.term = n.term\nRETURNING", "WHERE s.endpoint_id = n.endpoint_id\nRETURNING",
	),
	mutation.Of("an earlier term writes no cursor", "TestAWriteOfAnEarlierTermChangesNothing", hooksSQL,
		"JOIN hook_states s ON s.endpoint_id = n.endpoint_id AND s.term = n.term\nWHERE c.endpoint_id", "JOIN hook_states s ON s.endpoint_id = n.endpoint_id\nWHERE c.endpoint_id",
		"AND c.term <= n.term", "",
	),
	mutation.Of("what retention removed is said", "TestWhatTheLogDoesNotHaveIsReported", "reading.go",
		"e.miss(partition, from, w.read)", "",
	),
	mutation.Of("a log that was made anew is read from its beginning", "TestATopicThatWasMadeAnewIsReadFromItsBeginning", "reading.go",
		"if to >= before {", "if to = high; to >= before {",
	),
	mutation.Of("a disabled tenant's endpoint stops", "TestADisabledTenantsEndpointStops", "owner.go",
		"e.suspend(row.TenantDisabled)", "e.suspend(false)",
	),
	mutation.Of("redirects are not followed", "TestReceiversThatMisbehave", "send.go",
		"return http.ErrUseLastResponse", "return nil",
	),
	mutation.Of("a request that is not done is kept", "TestRequestsThatAreDoneAreDeletedADayLater", hooksSQL,
		"WHERE r.id <= s.last_request AND r.created_at", "WHERE r.created_at",
	),
	mutation.Of("the old secret signs too", "TestSettingsOfAnEndpointAreFollowed", "endpoint.go",
		"to.secrets = append(to.secrets, s.secret)", "_ = s.secret",
	),
}

func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
