{{/*
One ValidatingAdmissionPolicy on the operator's account (account `link`: on the link's), and its binding. Takes root, name, rules
(resourceRules as YAML) and validations (YAML); variables (YAML) if there are any.

No policy here takes parameters: with a parameter kind that is gone, the API server would refuse the matched requests of
everybody, since match conditions are read after parameters. So what depends on the customer's policy is rendered in.
*/}}
{{- define "pdp.admission" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "pdp.fullname" .root }}-{{ .name }}
  labels: {{- include "pdp.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: {{- .rules | nindent 6 }}
  matchConditions:
    - name: {{ .account | default "operator" }}-only
      expression: request.userInfo.username == '{{ .account | default "operator" | eq "link" | ternary (include "pdp.linkUser" .root) (include "pdp.operatorUser" .root) }}'
  {{- with .variables }}
  variables: {{- . | nindent 4 }}
  {{- end }}
  validations: {{- .validations | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "pdp.fullname" .root }}-{{ .name }}
  labels: {{- include "pdp.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "pdp.fullname" .root }}-{{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* A CEL list of strings. */}}
{{- define "pdp.celStrings" -}}
[{{ range $i, $s := . }}{{ if $i }}, {{ end }}'{{ $s | replace "\\" "\\\\" | replace "'" "\\'" }}'{{ end }}]
{{- end }}

{{/* Whether the namespace of a request is one of ours: another installation's says another word. */}}
{{- define "pdp.celOurs" -}}
has(namespaceObject.metadata.labels) && namespaceObject.metadata.labels[?'pdp-agent.dev/agent'].orValue('') == '{{ include "pdp.agent" . }}'
{{- end }}
