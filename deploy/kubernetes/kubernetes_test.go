package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// folders are built alike: what holds for the base holds with everything around it.
var folders = []string{"base", "full"}

// A custom is an object of an operator. Its schema is the operator's and not here: it is read as it stands.
type custom map[string]any

// operators are the groups of such objects.
var operators = []string{"postgresql.cnpg.io/v1", "barmancloud.cnpg.io/v1", "kafka.strimzi.io/v1"}

// objects are a folder as Kubernetes would get it, by kind and name.
func objects(t *testing.T, folder string) map[string]any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	for _, resource := range built.Resources() {
		kind := resource.GetApiVersion() + " " + resource.GetKind()
		object := map[string]any{
			"v1 Namespace": &corev1.Namespace{}, "v1 ServiceAccount": &corev1.ServiceAccount{}, "v1 ConfigMap": &corev1.ConfigMap{}, "v1 Service": &corev1.Service{},
			"batch/v1 Job": &batchv1.Job{}, "apps/v1 Deployment": &appsv1.Deployment{}, "apps/v1 StatefulSet": &appsv1.StatefulSet{}, "policy/v1 PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
			"autoscaling/v2 HorizontalPodAutoscaler": &autoscalingv2.HorizontalPodAutoscaler{}, "networking.k8s.io/v1 NetworkPolicy": &networkingv1.NetworkPolicy{},
		}[kind]
		if object == nil && slices.Contains(operators, resource.GetApiVersion()) {
			object = &custom{}
		}
		if object == nil {
			t.Fatalf("%s is not known here", kind)
		}
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s %s: %v", kind, resource.GetName(), err)
		}
		if kind != "v1 Namespace" && resource.GetNamespace() != "wallet" {
			t.Errorf("%s %s is in namespace %q", kind, resource.GetName(), resource.GetNamespace())
		}
		found[resource.GetKind()+" "+resource.GetName()] = object
	}
	return found
}

func object[T any](t *testing.T, all map[string]any, name string) T {
	t.Helper()
	found, ok := all[name].(T)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return found
}

func TestServicesAreLockedUpAndProbed(t *testing.T) {
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) { checkServices(t, objects(t, folder)) })
	}
}

func checkServices(t *testing.T, all map[string]any) {
	t.Helper()
	settings, err := os.ReadFile("../../config.env")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api", "relay", "worker", "hooks"} {
		d := object[*appsv1.Deployment](t, all, "Deployment "+name)
		checkPod(t, name, d.Spec.Template.Spec)
		c := d.Spec.Template.Spec.Containers[0]
		if d.Spec.Template.Labels["app.kubernetes.io/name"] != d.Spec.Selector.MatchLabels["app.kubernetes.io/name"] {
			t.Errorf("%s: its selector does not select it", name)
		}
		if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != "/livez" {
			t.Errorf("%s: probes are %+v and %+v", name, c.ReadinessProbe, c.LivenessProbe)
		}
		for _, probe := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe} {
			if !hasPort(c, probe.HTTPGet.Port.StrVal) {
				t.Errorf("%s: a probe asks port %s", name, probe.HTTPGet.Port.String())
			}
		}
		for _, variable := range c.Env {
			setting := strings.TrimSuffix(variable.Name, "_FILE")
			ofLibraries := strings.HasPrefix(setting, "RDKAFKA_") || variable.Name == "SSL_CERT_FILE"
			if !ofLibraries && !strings.Contains(string(settings), "#"+setting+"=") {
				t.Errorf("%s: no service reads %s", name, variable.Name)
			}
		}
		budget := object[*policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget "+name)
		replicas := d.Spec.Replicas
		if replicas == nil {
			replicas = object[*autoscalingv2.HorizontalPodAutoscaler](t, all, "HorizontalPodAutoscaler "+name).Spec.MinReplicas
		}
		if budget.Spec.MaxUnavailable.IntVal >= *replicas || budget.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != name {
			t.Errorf("%s: the budget lets all of %d go", name, *replicas)
		}
	}
	for name, pod := range pods(all) {
		checkPod(t, name, pod.Spec)
	}
}

// pods are the templates of everything that runs here, by kind and name.
func pods(all map[string]any) map[string]corev1.PodTemplateSpec {
	found := map[string]corev1.PodTemplateSpec{}
	for name, value := range all {
		switch o := value.(type) {
		case *appsv1.Deployment:
			found[name] = o.Spec.Template
		case *appsv1.StatefulSet:
			found[name] = o.Spec.Template
		case *batchv1.Job:
			found[name] = o.Spec.Template
		}
	}
	return found
}

var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+)?$`)

func checkPod(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot ||
		pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s may run as root, or talk to Kubernetes", name)
	}
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
			s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s: %s is not locked up: %+v", name, c.Name, s)
		}
		if !pinned.MatchString(c.Image) {
			t.Errorf("%s: image %s is not pinned", name, c.Image)
		}
		if c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: %s may take all memory", name, c.Name)
		}
	}
}

func hasPort(c corev1.Container, name string) bool {
	for _, port := range c.Ports {
		if port.Name == name {
			return true
		}
	}
	return false
}

func TestWhatRefersToAnotherObjectFindsIt(t *testing.T) {
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) { checkReferences(t, objects(t, folder)) })
	}
}

func checkReferences(t *testing.T, all map[string]any) {
	t.Helper()
	for _, name := range []string{"api", "worker"} {
		hpa := object[*autoscalingv2.HorizontalPodAutoscaler](t, all, "HorizontalPodAutoscaler "+name)
		d := object[*appsv1.Deployment](t, all, hpa.Spec.ScaleTargetRef.Kind+" "+hpa.Spec.ScaleTargetRef.Name)
		if d.Spec.Replicas != nil {
			t.Errorf("%s: to apply it sets the replicas back to %d, whatever the autoscaler has made of them", name, *d.Spec.Replicas)
		}
	}
	// The autoscaler's metric is one that the worker has.
	metrics, err := os.ReadFile("../../worker/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	hpa := object[*autoscalingv2.HorizontalPodAutoscaler](t, all, "HorizontalPodAutoscaler worker")
	if name := hpa.Spec.Metrics[0].Pods.Metric.Name; !strings.Contains(string(metrics), `"`+name+`"`) {
		t.Errorf("the worker has no metric %s", name)
	}
	service := object[*corev1.Service](t, all, "Service api")
	api := object[*appsv1.Deployment](t, all, "Deployment api")
	if !hasPort(api.Spec.Template.Spec.Containers[0], service.Spec.Ports[0].TargetPort.StrVal) {
		t.Error("the service's port leads nowhere")
	}
	for name, template := range pods(all) {
		pod := template.Spec
		object[*corev1.ServiceAccount](t, all, "ServiceAccount "+pod.ServiceAccountName)
		for _, c := range pod.Containers {
			for _, source := range c.EnvFrom {
				object[*corev1.ConfigMap](t, all, "ConfigMap "+source.ConfigMapRef.Name)
			}
			if len(c.VolumeMounts) != 1 || len(pod.Volumes) != 1 || c.VolumeMounts[0].Name != pod.Volumes[0].Name {
				t.Errorf("%s: the secrets are not mounted", name)
			}
		}
	}
}
