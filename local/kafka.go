package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

//go:embed kafka/pom.xml
var kafkaPOM []byte

// kafkaServer is a single node that is broker and controller. The arguments are the broker's
// address, the controller's, the data folder, what listeners add, and the main listener's protocol.
const kafkaServer = `process.roles=broker,controller
node.id=1
listeners=%[7]s://%[1]s,CONTROLLER://%[2]s%[4]s
advertised.listeners=%[7]s://%[1]s%[5]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT%[6]s
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=%[2]s
log.dirs=%[3]s
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
`

// listener is a further door to the broker. Those who come through it are told to come to advertised,
// where a proxy may stand.
type listener struct{ name, address, advertised string }

// kafkaPart is Apache Kafka, or kfake in a process of its own. Both keep their data in the state
// folder.
func kafkaPart(ctx context.Context, s *state, kind string, listeners []listener, secure *secured) (*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	broker := address(port)
	p := &process{
		name:  "kafka",
		log:   s.log("kafka"),
		ready: func(ctx context.Context) error { return pingKafka(ctx, secure.kafkaOptions(broker)) },
	}
	dir := filepath.Join(s.dir, kind)
	switch kind {
	case "kfake":
		p.about = "kfake, a stand-in (KAFKA=apache runs the real one)"
		p.argv = []string{self(), "kfake", dir, strconv.Itoa(port)}
	case "apache":
		p.about = "Apache Kafka"
		p.argv, err = apacheKafka(ctx, dir, broker, listeners, secure)
	default:
		err = fmt.Errorf("KAFKA=%s: it is apache or kfake", kind)
	}
	return p, broker, err
}

func pingKafka(ctx context.Context, options []kgo.Opt) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}

// apacheKafka prepares a folder for the broker, once, and returns the command that runs it.
func apacheKafka(ctx context.Context, dir, broker string, listeners []listener, secure *secured) ([]string, error) {
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	properties, data := filepath.Join(dir, "server.properties"), filepath.Join(dir, "data")
	var listen, advertise, protocols string
	for _, l := range listeners {
		listen += fmt.Sprintf(",%s://%s", l.name, l.address)
		advertise += fmt.Sprintf(",%s://%s", l.name, l.advertised)
		protocols += fmt.Sprintf(",%s:PLAINTEXT", l.name)
	}
	text := fmt.Sprintf(kafkaServer, broker, address(port), data, listen, advertise, protocols, secure.protocol()) + secure.brokerProperties()
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// The second compiler takes more of a short run than its code saves.
	java := []string{"java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(jars, "*")}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); errors.Is(err, os.ErrNotExist) {
		if err := formatKafka(ctx, java, dir, secure.formatArguments()...); err != nil {
			return nil, err
		}
	}
	return append(java, "kafka.Kafka", properties), nil
}

// formatKafka makes an empty broker with the server.properties of a folder. java is the beginning of
// the command that runs it.
func formatKafka(ctx context.Context, java []string, dir string, more ...string) error {
	id := uuid.New()
	return run(ctx, dir, append(slices.Concat(java, []string{
		"kafka.tools.StorageTool", "format", "--standalone",
		// One in 64 ids begins with a hyphen, and would be taken for an option if it stood alone.
		"--cluster-id=" + base64.RawURLEncoding.EncodeToString(id[:]), "-c", filepath.Join(dir, "server.properties"),
	}), more...)...)
}

// kafkaJars returns the folder of the broker's jars. Maven fills it the first time.
func kafkaJars(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", errors.New("Apache Kafka needs java 17 or later on PATH (Debian: apt-get install openjdk-17-jre-headless)")
	}
	cache, err := cacheDir()
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
	if err := run(ctx, partial, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(partial, "libs"), jars); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return jars, nil
}

// run runs a command to its end and returns what it wrote if it fails.
func run(ctx context.Context, dir string, argv ...string) error {
	cmd := commandIn(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	return runCaptured(cmd, io.Discard)
}

// commandIn is a command that gets no Ctrl-C from the terminal but ends with ctx, and with it all that
// it has started.
func commandIn(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// runCaptured runs a command to its end. What it wrote goes to out, and into the error.
func runCaptured(cmd *exec.Cmd, out io.Writer) error {
	var written bytes.Buffer
	cmd.Stdout = io.MultiWriter(&written, out)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, written.Bytes())
	}
	return nil
}

// serveKfake runs until it is killed.
func serveKfake(dir, port string) error {
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(number), kfake.DataDir(dir))
	if err != nil {
		return err
	}
	select {}
}
