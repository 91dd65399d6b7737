// Package kubernetes has the manifests in base/ and full/, and a test that they are what Kubernetes takes.
package kubernetes
