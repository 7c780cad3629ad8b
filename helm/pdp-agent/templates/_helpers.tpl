{{/* Names. The full name is the Helm release's; Leases, Secrets, accounts and roles start with it. */}}
{{- define "pdp.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "pdp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "pdp.selector" . }}
{{- end }}

{{- define "pdp.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The operator's identity, as the API server sees it. */}}
{{- define "pdp.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "pdp.fullname" . }}-operator
{{- end }}

{{- define "pdp.linkUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "pdp.fullname" . }}-link
{{- end }}

{{/*
The word on namespaces that says whose they are: NAMESPACE.NAME of this installation. It is the value of a label, 63 characters at
most; a longer one is cut and ends in a hash, after an underscore, which no name has. The operator is given this word.
*/}}
{{- define "pdp.agent" -}}
{{- $word := printf "%s.%s" .Release.Namespace (include "pdp.fullname" .) -}}
{{- if gt (len $word) 63 -}}
{{- printf "%s_%s" (trunc 50 $word) ($word | sha256sum | trunc 12) -}}
{{- else -}}
{{- $word -}}
{{- end -}}
{{- end }}

{{- define "pdp.enrolmentSecret" -}}
{{- .Values.enrolment.existingSecret | default (printf "%s-enrolment" (include "pdp.fullname" .)) -}}
{{- end }}

{{- define "pdp.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/*
The object `default` of one of our kinds, as JSON; `{}` where it is not there, or where the cluster cannot be asked. `lookup`
fails on a kind that the cluster does not know. Takes the root and the kind.
*/}}
{{- define "pdp.find" -}}
{{- $root := index . 0 -}}
{{- if $root.Capabilities.APIVersions.Has "pdp-agent.dev/v1alpha1" -}}
{{- lookup "pdp-agent.dev/v1alpha1" (index . 1) $root.Release.Namespace "default" | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/*
The policy that holds now: the one in the cluster, which is the customer's alone, else the values. Rights and admission
policies follow it, so that `helm upgrade` after an edit brings them in line. As JSON.
*/}}
{{- define "pdp.policy" -}}
{{- $live := include "pdp.find" (list . "DataPlanePolicy") | fromJson -}}
{{- if $live -}}
{{- $live.spec | toJson -}}
{{- else -}}
{{- $spec := dict "registries" .Values.policy.registries -}}
{{- $_ := set $spec "logs" (dict "mode" (.Values.policy.logs.mode | default "Disabled")) -}}
{{- range $key := list "environments" "vault" "internalRanges" "reachableRanges" "dns" "defaultQuota" "startGate" "clusterObjects" "limits" -}}
{{- $value := index $.Values.policy $key -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $spec $key $value }}{{ end -}}
{{- end -}}
{{- /* Where the policy is an object of the customer's own, the values say the same as that and nothing else does. */ -}}
{{- if and $.Values.policy.create (not (hasKey $spec "dns")) -}}
{{- with include "pdp.dnsOfCluster" . | fromJson -}}
{{- if or (ne .namespace "kube-system") (ne (int .port) 53) }}{{ $_ := set $spec "dns" . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $spec | toJson -}}
{{- end -}}
{{- end }}

{{/*
Where the pods of the cluster's DNS are and on which port they listen, as JSON; `{}` where the cluster cannot be asked or has no DNS
under these names. The endpoints are asked, since a Service may name the port of its pods (OpenShift's does). Of its ports only that of
the DNS speaks UDP.
*/}}
{{- define "pdp.dnsOfCluster" -}}
{{- $found := dict -}}
{{- range $namespace, $service := dict "kube-system" "kube-dns" "openshift-dns" "dns-default" -}}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" $namespace "" | default dict).items -}}
{{- if eq (index (.metadata.labels | default dict) "kubernetes.io/service-name" | default "") $service -}}
{{- range .ports -}}
{{- if and (eq (.protocol | default "TCP") "UDP") (not $found) -}}
{{- $_ := set $found "namespace" $namespace -}}
{{- $_ := set $found "port" (int .port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end }}

{{/* Where the policy that holds now says that these pods are, as JSON. */}}
{{- define "pdp.dns" -}}
{{- $said := (include "pdp.policy" . | fromJson).dns | default dict -}}
{{- dict "namespace" ($said.namespace | default "kube-system") "port" ($said.port | default 53 | int) | toJson -}}
{{- end }}

{{/*
The secret source that a policy names, as JSON: its `port`, the `audience` of the tokens with which environments log in, its CA
`bundle` and the value that holds it, `bundleKey`. `{}` where the policy names none. Takes the policy; a further source is a branch here.
*/}}
{{- define "pdp.source" -}}
{{- if .vault -}}
{{- dict "port" (include "pdp.port" .vault.address | int) "audience" .vault.audience "bundle" .vault.caBundle "bundleKey" "policy.vault.caBundle" | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/* Secrets of this namespace that the operator may read, as a JSON list. */}}
{{- define "pdp.pullSecrets" -}}
{{- $names := .Values.operator.pullSecrets -}}
{{- range (include "pdp.policy" . | fromJson).registries -}}
{{- with .pullSecret }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end }}

{{/* Ports of the API server as the cluster's own endpoints say, as a JSON list. */}}
{{- define "pdp.apiServerPorts" -}}
{{- $ports := .Values.networkPolicy.apiServerPorts -}}
{{- if not $ports -}}
{{- $slices := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "" -}}
{{- range ($slices | default dict).items -}}
{{- if eq (index (.metadata.labels | default dict) "kubernetes.io/service-name" | default "") "kubernetes" -}}
{{- range .ports }}{{ $ports = append $ports (int .port) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $ports = concat $ports (ternary (list 443) (list 443 6443) (gt (len $ports) 0)) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{/* Port of a URL, by its scheme where it names none. */}}
{{- define "pdp.port" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end }}
