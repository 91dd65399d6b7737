// Package kubernetes has the manifests in base/, and a test that they are what Kubernetes takes.
package kubernetes
