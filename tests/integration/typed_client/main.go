// A typed client as controllers written in Go use it: every body and answer is protobuf, JSON is not accepted.
//
// It is compiled by tests/integration/api_typed_client.sh inside the source tree of Debian's kubernetes package, so that
// the types, their codecs, the REST client, informers and the metadata client are upstream's own. Each check prints a
// line "ok ..." or "FAILED ..."; the exit code says whether one failed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const protobufType = "application/vnd.kubernetes.protobuf"

var (
	background = context.Background()
	failures   int
	different  []string // kinds whose bytes upstream's code would write in another way
)

func check(name string, err error) bool {
	if err != nil {
		failures++
		fmt.Printf("FAILED %s: %v\n", name, err)
		return false
	}
	fmt.Printf("ok %s\n", name)
	return true
}

func expect(name string, condition bool, got interface{}) {
	var err error
	if !condition {
		err = fmt.Errorf("got %v", got)
	}
	check(name, err)
}

// Every answer to a request that asks for protobuf alone has to be protobuf.
type watchdog struct{ next http.RoundTripper }

func (w watchdog) RoundTrip(q *http.Request) (*http.Response, error) {
	r, err := w.next.RoundTrip(q)
	if err == nil && strings.HasPrefix(q.Header.Get("Accept"), protobufType) &&
		!strings.HasPrefix(r.Header.Get("Content-Type"), protobufType) {
		check(q.Method+" "+q.URL.Path, fmt.Errorf("answered as %q (%d)", r.Header.Get("Content-Type"), r.StatusCode))
	}
	return r, err
}

// The typed clients that are used: all of them take minutes to compile.
type clients struct{ config *rest.Config }

func (c *clients) CoreV1() coreclient.CoreV1Interface { return coreclient.NewForConfigOrDie(c.config) }
func (c *clients) AppsV1() appsclient.AppsV1Interface { return appsclient.NewForConfigOrDie(c.config) }
func (c *clients) AuthenticationV1() authenticationclient.AuthenticationV1Interface {
	return authenticationclient.NewForConfigOrDie(c.config)
}
func (c *clients) AuthorizationV1() authorizationclient.AuthorizationV1Interface {
	return authorizationclient.NewForConfigOrDie(c.config)
}

func client(config *rest.Config) *clients {
	c := rest.CopyConfig(config)
	c.ContentType = protobufType
	c.AcceptContentTypes = protobufType
	c.QPS = -1
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return watchdog{next} })
	return &clients{c}
}

// --- every kind that this client knows ---

func restClient(config *rest.Config, gv schema.GroupVersion) rest.Interface {
	c := rest.CopyConfig(config)
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c.ContentType = protobufType
	c.AcceptContentTypes = protobufType
	c.QPS = -1
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return watchdog{next} })
	r, err := rest.RESTClientFor(c)
	if err != nil {
		panic(err)
	}
	return r
}

// Decoded by upstream's code and encoded again, the bytes are the same, unless types have grown fields since.
func sameBytes(raw []byte) bool {
	s := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	object, _, err := s.Decode(raw, nil, nil)
	if err != nil {
		return false
	}
	var again bytes.Buffer
	if s.Encode(object, &again) != nil {
		return false
	}
	return bytes.Equal(raw, again.Bytes())
}

func everyKind(config *rest.Config) {
	_, lists, err := discovery.NewDiscoveryClientForConfigOrDie(config).ServerGroupsAndResources()
	check("discovery", err)
	kinds, same := 0, 0
	for _, list := range lists {
		gv, _ := schema.ParseGroupVersion(list.GroupVersion)
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !strings.Contains(r.Verbs.String(), "list") ||
				!scheme.Scheme.Recognizes(gv.WithKind(r.Kind+"List")) {
				continue
			}
			name := gv.String() + " " + r.Name
			c := restClient(config, gv)
			raw, err := c.Get().Resource(r.Name).Do(background).Raw()
			if !check("list "+name, err) {
				continue
			}
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
			check("decode "+name, err)
			if err == nil && object.GetObjectKind().GroupVersionKind().Empty() && !strings.HasSuffix(fmt.Sprintf("%T", object), r.Kind+"List") {
				check("type of "+name, fmt.Errorf("%T", object))
			}
			kinds++
			if sameBytes(raw) {
				same++
			} else {
				different = append(different, r.Name+"/list")
			}
			if strings.Contains(r.Verbs.String(), "watch") {
				seconds := int64(1)
				w, err := c.Get().Resource(r.Name).VersionedParams(
					&metav1.ListOptions{Watch: true, TimeoutSeconds: &seconds}, scheme.ParameterCodec).Watch(background)
				if check("watch "+name, err) {
					w.Stop()
				}
			}
		}
	}
	fmt.Printf("%d kinds listed; %d re-encoded by upstream's code to the same bytes, not: %v\n", kinds, same, different)
	expect("at least 30 kinds listed", kinds >= 30, kinds)
	expect("at least 35 lists are upstream's bytes", same >= 35, same)
}

// --- objects of many kinds ---

var labels = map[string]string{"app": "typed", "z": "1", "a": ""}

func template() corev1.PodTemplateSpec {
	yes, grace := true, int64(3)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			NodeSelector:                  map[string]string{"nowhere": "yes"},
			Volumes: []corev1.Volume{
				{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "projected", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
						LocalObjectReference: corev1.LocalObjectReference{Name: "typed"}}}}}}},
			},
			Containers: []corev1.Container{{
				Name: "main", Image: "example.com/image:1", Command: []string{"a", ""},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
				Env: []corev1.EnvVar{{Name: "A", Value: "ü"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{
					FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("1Gi")}},
				LivenessProbe: &corev1.Probe{Handler: corev1.Handler{HTTPGet: &corev1.HTTPGetAction{
					Path: "/", Port: intstr.FromString("http")}}},
				ReadinessProbe: &corev1.Probe{Handler: corev1.Handler{TCPSocket: &corev1.TCPSocketAction{
					Port: intstr.FromInt(80)}}},
				SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: &yes},
				VolumeMounts:    []corev1.VolumeMount{{Name: "empty", MountPath: "/empty"}},
			}},
		},
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{"note": "line\nline"}}
}

type kind struct {
	gv       schema.GroupVersion
	resource string
	cluster  bool
	object   runtime.Object
}

func kinds() []kind {
	three, class := int32(3), "example"
	path := networkingv1.PathTypePrefix
	now := metav1.NowMicro()
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "typed"}}
	job := template()
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	return []kind{
		{corev1.SchemeGroupVersion, "configmaps", false, &corev1.ConfigMap{ObjectMeta: meta("typed"),
			Data: map[string]string{"b": "2", "a": "1"}, BinaryData: map[string][]byte{"c": {0, 1, 255}}}},
		{corev1.SchemeGroupVersion, "secrets", false, &corev1.Secret{ObjectMeta: meta("typed"),
			Data: map[string][]byte{"empty": {}, "x": []byte("y")}, Type: corev1.SecretTypeOpaque}},
		{corev1.SchemeGroupVersion, "pods", false, &corev1.Pod{ObjectMeta: meta("typed"), Spec: template().Spec}},
		{corev1.SchemeGroupVersion, "services", false, &corev1.Service{ObjectMeta: meta("typed"), Spec: corev1.ServiceSpec{
			Selector: labels, Ports: []corev1.ServicePort{{Name: "a", Port: 80, TargetPort: intstr.FromString("http")},
				{Name: "b", Port: 81, TargetPort: intstr.FromInt(8080)}}}}},
		{corev1.SchemeGroupVersion, "serviceaccounts", false, &corev1.ServiceAccount{ObjectMeta: meta("typed")}},
		{corev1.SchemeGroupVersion, "limitranges", false, &corev1.LimitRange{ObjectMeta: meta("typed"), Spec: corev1.LimitRangeSpec{
			Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: corev1.ResourceList{"cpu": resource.MustParse("2")}}}}}},
		{corev1.SchemeGroupVersion, "endpoints", false, &corev1.Endpoints{ObjectMeta: meta("typed-e"), Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.1.2.3"}}, Ports: []corev1.EndpointPort{{Port: 80}}}}}},
		{corev1.SchemeGroupVersion, "namespaces", true, &corev1.Namespace{ObjectMeta: meta("typed-namespace")}},
		{corev1.SchemeGroupVersion, "nodes", true, &corev1.Node{ObjectMeta: meta("typed"), Spec: corev1.NodeSpec{Unschedulable: true}}},
		{appsv1.SchemeGroupVersion, "deployments", false, &appsv1.Deployment{ObjectMeta: meta("typed"),
			Spec: appsv1.DeploymentSpec{Replicas: &three, Selector: selector, Template: template()}}},
		{appsv1.SchemeGroupVersion, "daemonsets", false, &appsv1.DaemonSet{ObjectMeta: meta("typed"),
			Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template()}}},
		{appsv1.SchemeGroupVersion, "statefulsets", false, &appsv1.StatefulSet{ObjectMeta: meta("typed"),
			Spec: appsv1.StatefulSetSpec{ServiceName: "typed", Selector: selector, Template: template()}}},
		{appsv1.SchemeGroupVersion, "controllerrevisions", false, &appsv1.ControllerRevision{ObjectMeta: meta("typed"), Revision: 7,
			Data: runtime.RawExtension{Raw: []byte(`{"spec":{"x":[1,"2",null]}}`)}}},
		{batchv1.SchemeGroupVersion, "jobs", false, &batchv1.Job{ObjectMeta: meta("typed"), Spec: batchv1.JobSpec{Template: job}}},
		{coordinationv1.SchemeGroupVersion, "leases", false, &coordinationv1.Lease{ObjectMeta: meta("typed"),
			Spec: coordinationv1.LeaseSpec{RenewTime: &now, LeaseDurationSeconds: &three}}},
		{networkingv1.SchemeGroupVersion, "ingresses", false, &networkingv1.Ingress{ObjectMeta: meta("typed"), Spec: networkingv1.IngressSpec{
			IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "example.com", IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &path,
					Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "typed",
						Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}}}}}}},
		{rbacv1.SchemeGroupVersion, "roles", false, &rbacv1.Role{ObjectMeta: meta("typed"),
			Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}},
		{rbacv1.SchemeGroupVersion, "clusterroles", true, &rbacv1.ClusterRole{ObjectMeta: meta("typed"),
			Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}}}},
	}
}

func access(o runtime.Object) metav1.Object { return o.(metav1.Object) }

// create, get, list, update, patch, delete of one kind, and what a watch shows of it.
func wholeLife(config *rest.Config, k kind) {
	c := restClient(config, k.gv)
	name := access(k.object).GetName()
	// after the first word of every request, where the object is
	at := func(q *rest.Request) *rest.Request {
		if !k.cluster {
			q = q.Namespace("default")
		}
		return q.Resource(k.resource)
	}
	created, err := at(c.Post()).Body(k.object).Do(background).Get()
	if !check("create "+k.resource, err) {
		return
	}
	w, err := at(c.Get()).VersionedParams(&metav1.ListOptions{Watch: true, ResourceVersion: access(created).GetResourceVersion(),
		FieldSelector: "metadata.name=" + name}, scheme.ParameterCodec).Watch(background)
	if !check("watch "+k.resource, err) {
		return
	}
	defer w.Stop()
	got, err := at(c.Get()).Name(name).Do(background).Get()
	check("get "+k.resource, err)
	expect("uid of "+k.resource, err == nil && access(got).GetUID() == access(created).GetUID() && access(got).GetUID() != "", got)
	raw, err := at(c.Get()).Name(name).Do(background).Raw()
	if check("bytes of "+k.resource, err) && !sameBytes(raw) {
		different = append(different, k.resource)
	}

	changed := got.DeepCopyObject()
	access(changed).SetLabels(map[string]string{"changed": "yes"})
	updated, err := at(c.Put()).Name(name).Body(changed).Do(background).Get()
	check("update "+k.resource, err)
	if err == nil {
		expect("label of "+k.resource, access(updated).GetLabels()["changed"] == "yes", access(updated).GetLabels())
		// finalizers and times of the object stay what they were
		expect("creation of "+k.resource, access(updated).GetCreationTimestamp() == access(created).GetCreationTimestamp(), updated)
	}
	_, err = at(c.Put()).Name(name).Body(changed).Do(background).Get()
	expect("conflict of "+k.resource, apierrors.IsConflict(err), err)
	_, err = at(c.Patch(types.StrategicMergePatchType)).Name(name).Body([]byte(`{"metadata":{"labels":{"patched":"yes"}}}`)).Do(background).Get()
	check("patch "+k.resource, err)
	_, err = at(c.Post()).Body(k.object).Do(background).Get()
	expect("second create of "+k.resource, apierrors.IsAlreadyExists(err), err)

	zero := int64(0)
	err = at(c.Delete()).Name(name).Body(&metav1.DeleteOptions{GracePeriodSeconds: &zero}).Do(background).Error()
	check("delete "+k.resource, err)
	_, err = at(c.Get()).Name(name + "-not").Do(background).Get()
	expect("not found of "+k.resource, apierrors.IsNotFound(err), err)
	want := []watch.EventType{watch.Modified, watch.Modified, watch.Deleted}
	if k.resource == "namespaces" {
		want = want[:2] // goes once it is empty
	}
	for i, expected := range want {
		select {
		case e := <-w.ResultChan():
			if e.Type != expected || access(e.Object).GetName() != name {
				check(fmt.Sprintf("event %d of %s", i, k.resource), fmt.Errorf("%s %v", e.Type, e.Object))
				return
			}
		case <-time.After(10 * time.Second):
			check(fmt.Sprintf("event %d of %s", i, k.resource), fmt.Errorf("did not come"))
			return
		}
	}
	check("events of "+k.resource, nil)
}

// --- subresources, reviews, refusals ---

func others(c *clients) {
	three := int32(3)
	_, err := c.AppsV1().Deployments("default").Create(background, &appsv1.Deployment{ObjectMeta: meta("scaled"), Spec: appsv1.DeploymentSpec{
		Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template()}}, metav1.CreateOptions{})
	check("create deployment", err)
	scale, err := c.AppsV1().Deployments("default").GetScale(background, "scaled", metav1.GetOptions{})
	if check("get scale", err) {
		expect("replicas", scale.Spec.Replicas == 3, scale)
		scale.Spec.Replicas = 0
		scale, err = c.AppsV1().Deployments("default").UpdateScale(background, "scaled", scale, metav1.UpdateOptions{})
		check("update scale", err)
		expect("replicas after", err == nil && scale.Spec.Replicas == 0, scale)
	}
	pod, err := c.CoreV1().Pods("default").Create(background, &corev1.Pod{ObjectMeta: meta("status"), Spec: template().Spec}, metav1.CreateOptions{})
	if check("create pod", err) {
		now := metav1.Now()
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: "example.com/x", Status: "True", LastTransitionTime: now})
		pod.Status.Phase = corev1.PodPending
		pod, err = c.CoreV1().Pods("default").UpdateStatus(background, pod, metav1.UpdateOptions{})
		check("update status", err)
		found := false
		for _, condition := range pod.Status.Conditions {
			found = found || condition.Type == "example.com/x" && condition.LastTransitionTime.Unix() == now.Unix()
		}
		expect("condition", found, pod.Status)
	}
	token, err := c.CoreV1().ServiceAccounts("default").CreateToken(background, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if check("token", err) {
		review, err := c.AuthenticationV1().TokenReviews().Create(background, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}, metav1.CreateOptions{})
		expect("token review", err == nil && review.Status.Authenticated &&
			review.Status.User.Username == "system:serviceaccount:default:default", review)
	}
	access, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(background, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "get", Resource: "pods", Namespace: "default"}}}, metav1.CreateOptions{})
	expect("access review", err == nil && access.Status.Allowed, access)
	rules, err := c.AuthorizationV1().SelfSubjectRulesReviews().Create(background, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	expect("rules review", err == nil && len(rules.Status.ResourceRules) > 0, rules)

	_, err = c.CoreV1().Pods("default").Create(background, &corev1.Pod{ObjectMeta: meta("BAD"), Spec: corev1.PodSpec{}}, metav1.CreateOptions{})
	status, is := err.(apierrors.APIStatus)
	expect("refusal", is && apierrors.IsInvalid(err) && len(status.Status().Details.Causes) >= 2, err)
	_, err = c.CoreV1().Pods("default").List(background, metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: "bad"})
	expect("bad option", apierrors.IsInvalid(err) || apierrors.IsBadRequest(err), err)
	_, err = c.CoreV1().ConfigMaps("default").List(background, metav1.ListOptions{Continue: "zzz"})
	expect("bad token", apierrors.IsBadRequest(err), err)
}

func paging(c *clients) {
	for i := 0; i < 25; i++ {
		_, err := c.CoreV1().ConfigMaps("default").Create(background, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("page-%02d", i), Labels: map[string]string{"page": "yes"}}}, metav1.CreateOptions{})
		if err != nil {
			check("create", err)
		}
	}
	seen, next := 0, ""
	for pages := 0; pages < 10; pages++ {
		list, err := c.CoreV1().ConfigMaps("default").List(background, metav1.ListOptions{LabelSelector: "page=yes", Limit: 10, Continue: next})
		if !check("page", err) {
			return
		}
		seen += len(list.Items)
		if next = list.Continue; next == "" {
			break
		}
	}
	expect("all pages", seen == 25, seen)
	err := c.CoreV1().ConfigMaps("default").DeleteCollection(background, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "page=yes"})
	check("delete collection", err)
	list, err := c.CoreV1().ConfigMaps("default").List(background, metav1.ListOptions{LabelSelector: "page=yes"})
	expect("collection gone", err == nil && len(list.Items) == 0 && list.ResourceVersion != "", list)
}

func informer(c *clients) {
	added, gone := make(chan string, 1000), make(chan string, 1000)
	source := cache.NewListWatchFromClient(c.CoreV1().RESTClient(), "configmaps", "default", fields.Everything())
	i := cache.NewSharedIndexInformer(source, &corev1.ConfigMap{}, 0, cache.Indexers{})
	i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o interface{}) { added <- o.(*corev1.ConfigMap).Name },
		DeleteFunc: func(o interface{}) { gone <- o.(*corev1.ConfigMap).Name },
	})
	stop := make(chan struct{})
	defer close(stop)
	go i.Run(stop)
	expect("informer synced", cache.WaitForCacheSync(stop, i.HasSynced), "not")
	wait := func(ch chan string, name string) bool {
		for {
			select {
			case got := <-ch:
				if got == name {
					return true
				}
			case <-time.After(10 * time.Second):
				return false
			}
		}
	}
	_, err := c.CoreV1().ConfigMaps("default").Create(background, &corev1.ConfigMap{ObjectMeta: meta("informed")}, metav1.CreateOptions{})
	check("create for the informer", err)
	expect("informer saw it come", wait(added, "informed"), "not")
	check("delete for the informer", c.CoreV1().ConfigMaps("default").Delete(background, "informed", metav1.DeleteOptions{}))
	expect("informer saw it go", wait(gone, "informed"), "not")
}

func metadataOnly(config *rest.Config, c *clients) {
	m := metadata.NewForConfigOrDie(config)
	_, err := c.CoreV1().ConfigMaps("default").Create(background, &corev1.ConfigMap{ObjectMeta: meta("partial"),
		Data: map[string]string{"not": "shown"}}, metav1.CreateOptions{})
	check("create for metadata", err)
	maps := m.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default")
	one, err := maps.Get(background, "partial", metav1.GetOptions{})
	expect("metadata get", err == nil && one.Labels["app"] == "typed", one)
	list, err := maps.List(background, metav1.ListOptions{})
	if check("metadata list", err) {
		w, err := maps.Watch(background, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if check("metadata watch", err) {
			check("metadata delete", maps.Delete(background, "partial", metav1.DeleteOptions{}))
			e := <-w.ResultChan()
			got, is := e.Object.(*metav1.PartialObjectMetadata)
			expect("metadata event", is && e.Type == watch.Deleted && got.Name == "partial", e)
			w.Stop()
		}
	}
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	c := client(config)
	_, err = c.CoreV1().ServiceAccounts("default").Create(background, &corev1.ServiceAccount{ObjectMeta: meta("default")}, metav1.CreateOptions{})
	check("create serviceaccount", err)
	for _, k := range kinds() {
		wholeLife(config, k)
	}
	others(c)
	paging(c)
	informer(c)
	metadataOnly(config, c)
	everyKind(config)
	if failures > 0 {
		fmt.Printf("%d checks failed\n", failures)
		os.Exit(1)
	}
}
