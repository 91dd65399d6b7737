package kubernetes

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// at is what stands at a path (a/b/0/c) of an operator's object, as text, or "" if nothing does.
func at(o *custom, where string) string {
	var value any = map[string]any(*o)
	for _, step := range strings.Split(where, "/") {
		switch in := value.(type) {
		case map[string]any:
			value = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(in) {
				return ""
			}
			value = in[i]
		default:
			return ""
		}
	}
	switch value := value.(type) {
	case nil:
		return ""
	case float64: // every number of YAML is one here
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// Each row is a setting that a promise rests on. The comment above it in the manifest names the promise.
func TestPromisesRestOnTheseSettings(t *testing.T) {
	all := objects(t, "full")
	for _, row := range []struct{ object, where, want, promise, file string }{
		{"Cluster wallet-postgres", "spec/instances", "3", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/postgresql/synchronous/method", "any", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/postgresql/synchronous/number", "1", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/postgresql/synchronous/dataDurability", "required", "acknowledge", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/postgresql/synchronous/failoverQuorum", "true", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/postgresql/parameters/synchronous_commit", "on", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/probes/liveness/isolationCheck/enabled", "true", "P2", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/affinity/enablePodAntiAffinity", "true", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/affinity/podAntiAffinityType", "required", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/affinity/topologyKey", "kubernetes.io/hostname", "P1", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/bootstrap/initdb/encoding", "UTF8", "encoding", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/bootstrap/initdb/localeCollate", "C", "indexes", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/bootstrap/initdb/dataChecksums", "true", "balance", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/certificates/serverCASecret", "wallet-ca", "90 days", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/enablePDB", "true", "drain", "postgres.yaml"},
		{"Cluster wallet-postgres", "spec/plugins/0/isWALArchiver", "true", "", "postgres.yaml"},
		{"ScheduledBackup wallet-postgres", "spec/immediate", "true", "archive", "backup.yaml"},
		{"Kafka wallet", "spec/kafka/config/default.replication.factor", "3", "R3", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/config/min.insync.replicas", "2", "R3", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/config/unclean.leader.election.enable", "false", "leader", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/config/auto.create.topics.enable", "false", "R4", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/config/offsets.topic.replication.factor", "3", "positions", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/template/podDisruptionBudget/maxUnavailable", "1", "drain", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/template/pod/topologySpreadConstraints/0/whenUnsatisfiable", "DoNotSchedule", "copies", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/template/pod/topologySpreadConstraints/0/topologyKey", "kubernetes.io/hostname", "copies", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/authorization/type", "simple", "", "kafka.yaml"},
		{"Kafka wallet", "spec/kafka/listeners/0/tls", "true", "", "kafka.yaml"},
		{"KafkaNodePool broker", "spec/replicas", "3", "R3", "kafka.yaml"},
		{"KafkaNodePool broker", "spec/roles", "[controller broker]", "KRaft", "kafka.yaml"},
		{"KafkaTopic wallet-operations", "spec/partitions", "8", "R4", "kafka.yaml"},
		{"KafkaTopic wallet-operations", "spec/replicas", "3", "R3", "kafka.yaml"},
		{"KafkaTopic wallet-operations", "spec/config/min.insync.replicas", "2", "R3", "kafka.yaml"},
		{"KafkaTopic wallet-operations", "spec/config/unclean.leader.election.enable", "false", "R3", "kafka.yaml"},
		{"KafkaTopic wallet-events", "spec/partitions", "8", "R4", "kafka.yaml"},
		{"KafkaTopic wallet-events", "spec/replicas", "3", "R3", "kafka.yaml"},
		{"KafkaTopic wallet-events", "spec/config/min.insync.replicas", "2", "R3", "kafka.yaml"},
		{"KafkaTopic wallet-events", "spec/config/unclean.leader.election.enable", "false", "R3", "kafka.yaml"},
	} {
		if got := at(object[*custom](t, all, row.object), row.where); got != row.want {
			t.Errorf("%s: %s is %q, not %s (%s)", row.object, row.where, got, row.want, row.promise)
		}
		if row.promise != "" && !strings.Contains(commentAbove(t, row.file, row.object, path.Base(row.where)), row.promise) {
			t.Errorf("%s: the comment above %s does not name %s", row.file, path.Base(row.where), row.promise)
		}
	}
	if listeners := at(object[*custom](t, all, "Kafka wallet"), "spec/kafka/listeners/1"); listeners != "" {
		t.Error("Kafka has another listener than the one with TLS and a password")
	}
}

// commentAbove is the nearest comment above the first line that has the key, in the document of the object.
func commentAbove(t *testing.T, file, object, key string) string {
	t.Helper()
	kind, name, _ := strings.Cut(object, " ")
	hasKey := regexp.MustCompile(`(^|[\s{])` + regexp.QuoteMeta(key) + `:`)
	for document := range strings.SplitSeq(read(t, "full/"+file), "---\n") {
		if !strings.Contains(document, "kind: "+kind+"\n") || !strings.Contains(document, "name: "+name+"\n") {
			continue
		}
		comment, goesOn := "", false
		for line := range strings.Lines(document) {
			switch text, is := strings.CutPrefix(strings.TrimSpace(line), "#"); {
			case is && goesOn:
				comment += text
			case is:
				comment, goesOn = text, true
			case hasKey.MatchString(line):
				return comment
			default:
				goesOn = false
			}
		}
	}
	return ""
}

// The cache has one server that forgets everything when it restarts, and evicts no generation (P6).
func TestCacheNeverGoesBack(t *testing.T) {
	all := objects(t, "full")
	cache := pods(all)["StatefulSet cache"].Spec.Containers[0]
	args := strings.Join(cache.Args, " ")
	for _, want := range []string{"--save  ", "--appendonly no", "--maxmemory 256mb", "--maxmemory-policy volatile-lru", "--port 0", "--aclfile /secrets/users.acl"} {
		if !strings.Contains(args+" ", want) {
			t.Errorf("the cache runs without %s: %s", want, args)
		}
	}
	if set := object[*appsv1.StatefulSet](t, all, "StatefulSet cache"); *set.Spec.Replicas != 1 {
		t.Errorf("%d caches would answer with as many versions", *set.Spec.Replicas)
	}
}

// What runs here is what runs in compose.yaml, where the tests of the whole system look.
func TestVersionsAndSettingsAreThoseOfCompose(t *testing.T) {
	all := objects(t, "full")
	compose := read(t, "../../compose.yaml")
	if image := pods(all)["StatefulSet cache"].Spec.Containers[0].Image; !strings.Contains(compose, "image: "+image+"\n") {
		t.Errorf("compose.yaml does not run %s", image)
	}
	postgres := object[*custom](t, all, "Cluster wallet-postgres")
	_, tag, _ := strings.Cut(at(postgres, "spec/imageName"), ":")
	if version, _, _ := strings.Cut(tag, "-"); !strings.Contains(compose, "image: postgres:"+version+"-") {
		t.Errorf("compose.yaml does not run Postgres %s", version)
	}
	for _, name := range []string{"max_wal_size", "checkpoint_timeout", "wal_compression", "random_page_cost", "log_lock_waits", "log_min_duration_statement"} {
		if setting := name + "=" + at(postgres, "spec/postgresql/parameters/"+name); !strings.Contains(compose, "- -c"+setting+"\n") {
			t.Errorf("compose.yaml does not set %s", setting)
		}
	}
	kafka := object[*custom](t, all, "Kafka wallet")
	for _, name := range []string{"unclean.leader.election.enable", "auto.create.topics.enable", "log.retention.hours", "offsets.retention.minutes", "group.initial.rebalance.delay.ms"} {
		variable, value := "KAFKA_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_")), at(kafka, "spec/kafka/config/"+name)
		if !regexp.MustCompile(variable + `: "?` + value + `"?\n`).MatchString(compose) {
			t.Errorf("compose.yaml does not set %s to %s", variable, value)
		}
	}
}

// The topic that Strimzi makes is the one that the job registers, to the letter: whoever is first, the other
// finds nothing to change.
func TestTopicIsTheOneThatIsRegistered(t *testing.T) {
	all := objects(t, "full")
	settings := object[*corev1.ConfigMap](t, all, configMap(all)).Data
	args := object[*batchv1.Job](t, all, "Job prepare").Spec.Template.Spec.Containers[0].Args
	if want := []string{"topic", "create", "$(TOPIC)", "$(EVENTS_TOPIC)", "--partitions"}; !slices.Equal(args[:5], want) {
		t.Fatalf("the job runs ctl %s", strings.Join(args, " "))
	}
	for _, name := range []string{settings["TOPIC"], settings["EVENTS_TOPIC"]} {
		checkTopic(t, object[*custom](t, all, "KafkaTopic "+name), args)
	}
	// More workers than partitions have nothing to do.
	partitions := at(object[*custom](t, all, "KafkaTopic "+settings["TOPIC"]), "spec/partitions")
	if most := object[*autoscalingv2.HorizontalPodAutoscaler](t, all, "HorizontalPodAutoscaler worker").Spec.MaxReplicas; fmt.Sprint(most) != partitions {
		t.Errorf("up to %d workers share %s partitions", most, partitions)
	}
}

// checkTopic compares a topic with what ctl is told to make.
func checkTopic(t *testing.T, topic *custom, args []string) {
	t.Helper()
	for flag, where := range map[string]string{
		"--partitions": "spec/partitions", "--replication-factor": "spec/replicas", "--min-insync-replicas": "spec/config/min.insync.replicas",
	} {
		if got, want := at(topic, where), args[slices.Index(args, flag)+1]; got != want {
			t.Errorf("%s is %s for Strimzi and %s for ctl", where, got, want)
		}
	}
	if !strings.Contains(read(t, "../../ctl/topic.go"), `"retention", 7*24*time.Hour`) || at(topic, "spec/config/retention.ms") != "604800000" {
		t.Errorf("messages are kept for %s ms, and ctl says otherwise", at(topic, "spec/config/retention.ms"))
	}
	if partitions := at(topic, "spec/partitions"); !strings.Contains(read(t, "../../config.env"), "#PARTITIONS="+partitions+"\n") {
		t.Errorf("config.env says another number of partitions than %s", partitions)
	}
}

// Every secret that something reads is made: by the program secrets, by Strimzi, or (the backups') by hand.
// Every file that a setting names is in its pod.
func TestSecretsLineUp(t *testing.T) {
	all := objects(t, "full")
	made := madeSecrets(t)
	settings := object[*corev1.ConfigMap](t, all, configMap(all)).Data
	keys := map[string][]string{"wallet-backups": {"access-key-id", "secret-access-key"}, "wallet-cluster-ca-cert": {"ca.crt"}}
	for name, secret := range made {
		keys[name] = slices.Collect(maps.Keys(secret.StringData))
	}
	for name, o := range all {
		if user, is := strings.CutPrefix(name, "KafkaUser "); is && at(o.(*custom), "spec/authentication/type") == "scram-sha-512" {
			keys[at(object[*custom](t, all, "Kafka wallet"), "spec/entityOperator/userOperator/secretPrefix")+user] = []string{"password"}
		}
	}
	check := func(who, secret, key string) {
		if !slices.Contains(keys[secret], key) {
			t.Errorf("%s reads %s of the secret %s, which nobody makes", who, key, secret)
		}
	}
	for name, template := range pods(all) {
		var files []string
		for _, source := range template.Spec.Volumes[0].Projected.Sources {
			for _, item := range source.Secret.Items {
				check(name, source.Secret.Name, item.Key)
				files = append(files, "/secrets/"+item.Path)
				if item.Key == "ca.key" {
					t.Errorf("%s gets the key of the authority", name)
				}
			}
		}
		for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
			texts := slices.Clone(c.Args)
			for _, variable := range c.Env {
				texts = append(texts, variable.Value)
				if ref := variable.ValueFrom; ref != nil {
					check(name, ref.SecretKeyRef.Name, ref.SecretKeyRef.Key)
					texts = append(texts, made[ref.SecretKeyRef.Name].StringData[ref.SecretKeyRef.Key])
				}
				if user := variable.Value; variable.Name == "RDKAFKA_SASL_USERNAME" {
					texts = append(texts, settings["RDKAFKA_SSL_CA_LOCATION"])
					if !slices.ContainsFunc(template.Spec.Volumes[0].Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret.Name == "kafka-"+user }) {
						t.Errorf("%s is %s and has another's password", name, user)
					}
				}
			}
			for _, file := range regexp.MustCompile(`/secrets/[a-z.-]+`).FindAllString(strings.Join(texts, " "), -1) {
				if !slices.Contains(files, file) || len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/secrets" {
					t.Errorf("%s: %s has no %s, but %v at %v", name, c.Name, file, files, c.VolumeMounts)
				}
			}
		}
	}
	postgres := object[*custom](t, all, "Cluster wallet-postgres")
	check("Postgres", at(postgres, "spec/certificates/serverCASecret"), "ca.key")
	check("Postgres", at(postgres, "spec/bootstrap/initdb/secret/name"), "password")
	for _, key := range []string{"accessKeyId", "secretAccessKey"} {
		where := "spec/configuration/s3Credentials/" + key
		check("the backup", at(object[*custom](t, all, "ObjectStore wallet-backups"), where+"/name"), at(object[*custom](t, all, "ObjectStore wallet-backups"), where+"/key"))
	}
	archiver, backup := at(postgres, "spec/plugins/0/name"), object[*custom](t, all, "ScheduledBackup wallet-postgres")
	object[*custom](t, all, "ObjectStore "+at(postgres, "spec/plugins/0/parameters/barmanObjectName"))
	object[*custom](t, all, "Cluster "+at(backup, "spec/cluster/name"))
	if archiver == "" || at(backup, "spec/method") != "plugin" || at(backup, "spec/pluginConfiguration/name") != archiver {
		t.Errorf("%q archives, and %q takes the base backups", archiver, at(backup, "spec/pluginConfiguration/name"))
	}
}

// A login is a member of the role that the migrations grant its service's work to, and its address leads to
// the primary, with the certificate looked at.
func TestLoginsLeadToThePrimary(t *testing.T) {
	all := objects(t, "full")
	made := madeSecrets(t)
	postgres := object[*custom](t, all, "Cluster wallet-postgres")
	migrations := read(t, "../../db/migrations/20261124000001_roles.sql") + read(t, "../../db/migrations/20261129100100_hooks.sql")
	owner := at(postgres, "spec/bootstrap/initdb/owner")
	logins := map[string]string{owner: at(postgres, "spec/bootstrap/initdb/secret/name")}
	for i := range 4 {
		role := fmt.Sprintf("spec/managed/roles/%d/", i)
		name, group := at(postgres, role+"name"), at(postgres, role+"inRoles/0")
		if group != "wallet_"+name || !strings.Contains(migrations, "'"+group+"'") && !strings.Contains(migrations, "CREATE ROLE "+group+" NOLOGIN") || at(postgres, role+"login") != "true" {
			t.Errorf("the login %q is a member of %q", name, group)
		}
		if !strings.Contains(at(postgres, "spec/bootstrap/initdb/postInitSQL"), "CREATE ROLE "+group+" NOLOGIN") {
			t.Errorf("the login %s waits for %s", name, group)
		}
		logins[name] = at(postgres, role+"passwordSecret/name")
	}
	if !strings.Contains(at(postgres, "spec/bootstrap/initdb/postInitSQL"), "ALTER ROLE "+owner+" CREATEROLE") {
		t.Error("the migrations cannot make roles")
	}
	if len(logins) != 5 {
		t.Errorf("the logins are %v", logins)
	}
	for login, secret := range logins {
		data := made[secret].StringData
		address, err := url.Parse(data["database-url"])
		if err != nil {
			t.Fatal(err)
		}
		password, _ := address.User.Password()
		if data["username"] != login || address.User.Username() != login || data["password"] != password || len(password) < 20 {
			t.Errorf("the secret %s is of %q and its address of %q", secret, data["username"], address.User.Username())
		}
		if address.Host != "wallet-postgres-rw:5432" || address.Path != "/"+at(postgres, "spec/bootstrap/initdb/database") || address.Query().Get("sslmode") != "verify-full" {
			t.Errorf("%s leads to %s", secret, address.Redacted())
		}
	}
	service := object[*corev1.Service](t, all, "Service cache")
	for _, secret := range []string{"wallet-api", "wallet-worker", "wallet-owner"} {
		if address, _ := url.Parse(made[secret].StringData["redis-url"]); address.Scheme != "rediss" || address.Host != fmt.Sprintf("%s:%d", service.Name, service.Spec.Ports[0].Port) {
			t.Errorf("%s leads to %s", secret, address.Redacted())
		}
	}
	kafka := object[*custom](t, all, "Kafka wallet")
	if brokers := object[*corev1.ConfigMap](t, all, configMap(all)).Data["KAFKA_BROKERS"]; brokers != "wallet-kafka-bootstrap:"+at(kafka, "spec/kafka/listeners/0/port") {
		t.Errorf("the brokers are at %s", brokers)
	}
}

// A service may do with Kafka what it does, and nothing else.
func TestKafkaUsersMayDoTheirWork(t *testing.T) {
	all := objects(t, "full")
	const topic, events, group = "topic literal wallet-operations", "topic literal wallet-events", "group literal wallet-worker"
	want := map[string]map[string]string{
		"relay":  {topic: "[Describe Write]", events: "[Describe Write]"},
		"worker": {topic: "[Describe Read]", group: "[Describe Read]"},
		"hooks":  {events: "[Describe Read]", "group literal wallet-hooks": "[Describe]"},
		"ctl":    {topic: "[Create Describe Read]", events: "[Create Describe Read]", group: "[Describe Read]", "group prefix wallet-ctl-": "[Describe Read]"},
	}
	for user, rights := range want {
		o, got := object[*custom](t, all, "KafkaUser "+user), map[string]string{}
		for i := 0; at(o, fmt.Sprintf("spec/authorization/acls/%d", i)) != ""; i++ {
			acl := fmt.Sprintf("spec/authorization/acls/%d/", i)
			got[at(o, acl+"resource/type")+" "+at(o, acl+"resource/patternType")+" "+at(o, acl+"resource/name")] = at(o, acl+"operations")
		}
		if !maps.Equal(got, rights) {
			t.Errorf("%s may %v", user, got)
		}
	}
	for file, text := range map[string]string{"config.env": "#KAFKA_GROUP=wallet-worker\n", "hooks/config.go": `"group.id":                 "wallet-hooks"`, "ctl/log.go": `"wallet-ctl-" + uuid`} {
		if !strings.Contains(read(t, "../../"+file), text) {
			t.Errorf("%s has other groups of consumers", file)
		}
	}
	for name, o := range all {
		if strings.HasPrefix(name, "Kafka") && name != "Kafka wallet" {
			meta := (*o.(*custom))["metadata"].(map[string]any)
			if cluster := meta["labels"].(map[string]any)["strimzi.io/cluster"]; cluster != "wallet" {
				t.Errorf("%s belongs to the cluster %v", name, cluster)
			}
		}
	}
}

// What needs another reaches it, and nobody else does.
func TestNetworkIsOpenToThoseWhoNeedIt(t *testing.T) {
	all := objects(t, "full")
	clients := []string{"api", "relay", "worker", "hooks", "prepare", "ctl", "cache", "wallet-postgres", "cloudnative-pg", "stranger"}
	for _, client := range clients[:7] {
		if !slices.ContainsFunc(slices.Collect(maps.Values(pods(all))), func(p corev1.PodTemplateSpec) bool { return p.Labels["app.kubernetes.io/name"] == client }) {
			t.Errorf("there is no %s", client)
		}
	}
	label := func(name string) labels.Set {
		if name == "wallet-postgres" {
			return labels.Set{"cnpg.io/cluster": name}
		}
		return labels.Set{"app.kubernetes.io/name": name}
	}
	for _, row := range []struct{ to, port, from string }{
		{"wallet-postgres", "5432", "api relay worker hooks prepare ctl wallet-postgres cloudnative-pg"},
		{"wallet-postgres", "8000", "wallet-postgres cloudnative-pg"},
		{"cache", "redis", "api worker ctl"},
	} {
		var reached []string
		for _, client := range clients {
			from := "wallet"
			if client == "cloudnative-pg" {
				from = "cnpg-system"
			}
			if reaches(t, all, from, label(client), label(row.to), row.port) {
				reached = append(reached, client)
			}
		}
		if got := strings.Join(reached, " "); got != row.from {
			t.Errorf("port %s of %s is open to %s, not to %s", row.port, row.to, got, row.from)
		}
	}
	// Every pod that has a password of Kafka is let in by Strimzi's policy, which the listener says.
	var peers []networkingv1.NetworkPolicyPeer
	listener := (*object[*custom](t, all, "Kafka wallet"))["spec"].(map[string]any)["kafka"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	text, err := yaml.Marshal(listener["networkPolicyPeers"])
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &peers); err != nil {
		t.Fatal(err)
	}
	for name, template := range pods(all) {
		needs := slices.ContainsFunc(template.Spec.Volumes[0].Projected.Sources, func(s corev1.VolumeProjection) bool { return strings.HasPrefix(s.Secret.Name, "kafka-") })
		if may := selects(t, peers[0].PodSelector, template.Labels); may != needs || len(peers) != 1 {
			t.Errorf("%s needs Kafka: %v, and reaches it: %v", name, needs, may)
		}
	}
}

// reaches says whether a policy lets a pod of a namespace in.
func reaches(t *testing.T, all map[string]any, namespace string, from, to labels.Set, port string) bool {
	t.Helper()
	for _, o := range all {
		policy, ok := o.(*networkingv1.NetworkPolicy)
		if !ok || !selects(t, &policy.Spec.PodSelector, to) {
			continue
		}
		for _, rule := range policy.Spec.Ingress {
			if !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.String() == port }) {
				continue
			}
			for _, peer := range rule.From {
				in := namespace == "wallet"
				if peer.NamespaceSelector != nil {
					in = selects(t, peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": namespace})
				}
				if in && (peer.PodSelector == nil || selects(t, peer.PodSelector, from)) {
					return true
				}
			}
		}
	}
	return false
}

func selects(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(set)
}

// madeSecrets are what the program secrets prints.
func madeSecrets(t *testing.T) map[string]corev1.Secret {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "run", "./full/secrets").Output()
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]corev1.Secret{}
	for document := range strings.SplitSeq(strings.TrimPrefix(string(out), "---\n"), "\n---\n") {
		var secret corev1.Secret
		if err := yaml.UnmarshalStrict([]byte(document), &secret); err != nil {
			t.Fatal(err)
		}
		made[secret.Name] = secret
	}
	return made
}

func configMap(all map[string]any) string {
	for name, o := range all {
		if _, is := o.(*corev1.ConfigMap); is {
			return name
		}
	}
	return ""
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
