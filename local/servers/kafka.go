package servers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// ClusterBrokers is how many brokers a cluster has here: with fewer none could be missed, and more would
// show nothing else. Each partition is on all of them, and acknowledged by two.
const ClusterBrokers = 3

//go:embed kafka/pom.xml
var kafkaPOM []byte

// kafkaServer is a node that is broker and controller. The arguments are the broker's address, the
// controller's, the data folder, what listeners add, the main listener's protocol, the node's id and
// how the controllers find each other.
const kafkaServer = `process.roles=broker,controller
node.id=%[8]d
listeners=%[7]s://%[1]s,CONTROLLER://%[2]s%[4]s
advertised.listeners=%[7]s://%[1]s%[5]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT%[6]s
controller.listener.names=CONTROLLER
%[9]s
log.dirs=%[3]s
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=%[10]d
transaction.state.log.replication.factor=%[10]d
transaction.state.log.min.isr=%[11]d
min.insync.replicas=%[11]d
group.initial.rebalance.delay.ms=0
`

// Listener is a further door to the broker. Those who come through it are told to come to advertised,
// where a proxy may stand.
type Listener struct{ Name, Address, Advertised string }

// kafkaNode is where a node listens: as broker, and as controller.
type kafkaNode struct {
	broker, controller string
	listeners          []Listener
}

// cluster is Kafka's nodes. One alone is a cluster too.
type cluster []kafkaNode

func kafkaNodes(count int, listeners [][]Listener) (nodes cluster, err error) {
	for i := range count {
		broker, brokerErr := freeport.Find()
		controller, controllerErr := freeport.Find()
		if err := errors.Join(brokerErr, controllerErr); err != nil {
			return nil, err
		}
		node := kafkaNode{broker: proc.Address(broker), controller: proc.Address(controller)}
		if i < len(listeners) {
			node.listeners = listeners[i]
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// addresses are what clients start from.
func (c cluster) addresses() string {
	var addresses []string
	for _, node := range c {
		addresses = append(addresses, node.broker)
	}
	return strings.Join(addresses, ",")
}

// quorum is the setting by which the controllers find each other.
func (c cluster) quorum() string {
	if len(c) == 1 {
		return "controller.quorum.bootstrap.servers=" + c[0].controller
	}
	var voters []string
	for i, node := range c {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, node.controller))
	}
	return "controller.quorum.voters=" + strings.Join(voters, ",")
}

// BrokerName is what the process of the i-th node is called.
func BrokerName(i int) string {
	if i == 0 {
		return "kafka"
	}
	return fmt.Sprintf("kafka-%d", i+1)
}

// kafkaPart is one node of Apache Kafka, or kfake in a process of its own. Both keep their data in the
// state folder.
func kafkaPart(ctx context.Context, s *proc.State, kind string, nodes cluster, i int, secure *Secured) (p *proc.Process, err error) {
	broker, name := nodes[i].broker, BrokerName(i)
	p = &proc.Process{
		Name:  name,
		Log:   s.Log(name),
		Ready: func(ctx context.Context) error { return pingKafka(ctx, secure.KafkaOptions(broker)) },
	}
	dir := filepath.Join(s.Dir, kind)
	if len(nodes) > 1 {
		dir = filepath.Join(s.Dir, fmt.Sprintf("%s-of-%d", kind, len(nodes)), strconv.Itoa(i+1))
	}
	switch kind {
	case "kfake":
		p.About = "kfake, a stand-in (KAFKA=apache runs the real one)"
		_, port, _ := net.SplitHostPort(broker)
		p.Argv = []string{proc.Self(), "kfake", dir, port}
	case "apache":
		p.About = "Apache Kafka"
		p.Argv, err = apacheKafka(ctx, dir, nodes, i, secure)
	default:
		err = fmt.Errorf("KAFKA=%s: it is apache or kfake", kind)
	}
	return p, err
}

func pingKafka(ctx context.Context, options []kgo.Opt) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}

// apacheKafka prepares a folder for a node, once, and returns the command that runs it.
func apacheKafka(ctx context.Context, dir string, nodes cluster, i int, secure *Secured) ([]string, error) {
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	properties, data := filepath.Join(dir, "server.properties"), filepath.Join(dir, "data")
	var listen, advertise, protocols string
	for _, l := range nodes[i].listeners {
		listen += fmt.Sprintf(",%s://%s", l.Name, l.Address)
		advertise += fmt.Sprintf(",%s://%s", l.Name, l.Advertised)
		protocols += fmt.Sprintf(",%s:PLAINTEXT", l.Name)
	}
	// One broker has nobody to copy to; of three, one may be missing.
	replicas := len(nodes)
	text := fmt.Sprintf(kafkaServer, nodes[i].broker, nodes[i].controller, data, listen, advertise, protocols, secure.protocol(),
		i+1, nodes.quorum(), replicas, replicas/2+1) + secure.brokerProperties()
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// The second compiler takes more of a short run than its code saves.
	java := []string{"java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(jars, "*")}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); errors.Is(err, os.ErrNotExist) {
		how := secure.formatArguments()
		if len(nodes) == 1 {
			how = append(how, "--standalone")
		}
		if err := FormatKafka(ctx, java, dir, nodes.id(dir), how...); err != nil {
			return nil, err
		}
	}
	return append(java, "kafka.Kafka", properties), nil
}

// id is the cluster's, which all of its nodes have to know, whichever of them is formatted when: it
// follows from the folder that they have in common. One node alone gets another each time: that is how
// clients tell an empty broker from the one that was in its place.
func (c cluster) id(dir string) uuid.UUID {
	if len(c) == 1 {
		return uuid.New()
	}
	return uuid.NewSHA1(uuid.Nil, []byte(filepath.Dir(dir)))
}

// FormatKafka makes an empty broker with the server.properties of a folder. java is the beginning of
// the command that runs it.
func FormatKafka(ctx context.Context, java []string, dir string, id uuid.UUID, more ...string) error {
	return proc.Run(ctx, dir, append(slices.Concat(java, []string{
		"kafka.tools.StorageTool", "format",
		// One in 64 ids begins with a hyphen, and would be taken for an option if it stood alone.
		"--cluster-id=" + base64.RawURLEncoding.EncodeToString(id[:]), "-c", filepath.Join(dir, "server.properties"),
	}), more...)...)
}

// kafkaJars returns the folder of the broker's jars. Maven fills it the first time.
func kafkaJars(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", errors.New("Apache Kafka needs java 17 or later on PATH (Debian: apt-get install openjdk-17-jre-headless)")
	}
	cache, err := proc.CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(kafkaPOM)
	jars := filepath.Join(cache, "kafka-"+hex.EncodeToString(sum[:4]))
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", errors.New("downloading Apache Kafka needs mvn on PATH (Debian: apt-get install maven)")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// The folder gets its name when it is complete, so that neither a broken download nor another
	// process's is taken for one.
	partial, err := os.MkdirTemp(cache, "kafka-partial-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(partial)
	if err := os.WriteFile(filepath.Join(partial, "pom.xml"), kafkaPOM, 0o644); err != nil {
		return "", err
	}
	if err := proc.Run(ctx, partial, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(partial, "libs"), jars); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return jars, nil
}

// ServeKfake runs until it is killed.
func ServeKfake(args []string) error {
	if len(args) != 2 {
		return errors.New("kfake: want a folder and a port")
	}
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(number), kfake.DataDir(args[0]))
	if err != nil {
		return err
	}
	select {}
}
