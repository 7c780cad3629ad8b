{{/*
The Deployment of one role. Takes root, role (link, operator or run), name, account, settings (replicas, resources) and
outside (whether it talks to the control plane).
*/}}
{{- define "pdp.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "pdp.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
spec:
  replicas: {{ .settings.replicas }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "pdp.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .role }}
  template:
    metadata:
      labels:
        {{- with $root.Values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- include "pdp.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .role }}
      annotations:
        {{- if .outside }}
        pdp-agent.dev/ca-checksum: {{ $root.Values.controlPlane.caBundle | sha256sum | trunc 16 }}
        {{- with $root.Values.enrolment.token }}
        # A mounted Secret follows only after a minute; who gives a new token waits for it.
        pdp-agent.dev/token-checksum: {{ . | sha256sum | trunc 16 }}
        {{- end }}
        {{- end }}
        kubectl.kubernetes.io/default-container: pdp-agent
        {{- with $root.Values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ .account }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- range $key := list "podSecurityContext" "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsConfig" }}
      {{- with index $root.Values $key }}
      {{ $key | replace "podSecurityContext" "securityContext" }}: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- if not (kindIs "invalid" $root.Values.topologySpreadConstraints) }}
      {{- with $root.Values.topologySpreadConstraints }}
      topologySpreadConstraints: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- else if gt (int .settings.replicas) 1 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "pdp.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .role }}
      {{- end }}
      containers:
        - name: pdp-agent
          image: {{ include "pdp.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ .role }}]
          env: {{- include "pdp.env" . | trim | nindent 12 }}
          ports:
            - name: admin
              containerPort: 8081
          startupProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 1
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 10
            timeoutSeconds: 3
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 3
          {{- with .settings.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with $root.Values.securityContext }}
          securityContext: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- if .outside }}
          volumeMounts:
            - name: enrolment
              mountPath: /run/pdp-agent/enrolment
              readOnly: true
            {{- if $root.Values.controlPlane.caBundle }}
            - name: ca
              mountPath: /run/pdp-agent/ca
              readOnly: true
            {{- end }}
      volumes:
        # Needed only until the agent has its certificate.
        - name: enrolment
          secret:
            secretName: {{ include "pdp.enrolmentSecret" $root }}
            optional: true
            items:
              - key: token
                path: token
        {{- if $root.Values.controlPlane.caBundle }}
        - name: ca
          configMap:
            name: {{ include "pdp.fullname" $root }}-ca
        {{- end }}
          {{- end }}
{{- end }}

{{/* Settings of the agent, all by environment. */}}
{{- define "pdp.env" -}}
{{- $root := .root -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: PDP_FULLNAME
  value: {{ include "pdp.fullname" $root }}
- name: PDP_NAMESPACE_LABEL
  value: {{ include "pdp.agent" $root }}
- name: PDP_ADMISSION_POLICIES
  value: {{ $root.Values.admissionPolicies.enabled | quote }}
- name: PDP_ADMIN_ADDRESS
  value: 0.0.0.0:8081
- name: PDP_LOG_FORMAT
  value: {{ $root.Values.log.format }}
- name: PDP_LOG_LEVEL
  value: {{ $root.Values.log.level }}
{{/* glibc: one heap instead of one for each thread, and what a burst took goes back to the node. Fixed thresholds do not grow. */ -}}
- name: MALLOC_ARENA_MAX
  value: "1"
- name: MALLOC_MMAP_THRESHOLD_
  value: "65536"
- name: MALLOC_TRIM_THRESHOLD_
  value: "65536"
{{- if .outside }}
- name: PDP_CONTROL_PLANE_URL
  value: {{ $root.Values.controlPlane.url | quote }}
{{- with $root.Values.controlPlane.bulkHosts }}
- name: PDP_BULK_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- with $root.Values.controlPlane.pins }}
- name: PDP_CONTROL_PLANE_PINS
  value: {{ join "," . | quote }}
{{- end }}
- name: PDP_ENROLMENT_TOKEN_FILE
  value: /run/pdp-agent/enrolment/token
{{- if $root.Values.controlPlane.caBundle }}
- name: PDP_CA_BUNDLE_FILE
  value: /run/pdp-agent/ca/ca.crt
{{- end }}
{{- with $root.Values.proxy.url }}
{{- $proxy := . }}
{{- with $root.Values.proxy.existingSecret }}
{{- /* The kubelet puts them into the address. */}}
{{- $proxy = replace "://" "://$(PROXY_USER):$(PROXY_PASSWORD)@" $proxy }}
- name: PROXY_USER
  valueFrom: {secretKeyRef: {name: {{ . }}, key: user}}
- name: PROXY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{- end }}
- name: HTTPS_PROXY
  value: {{ $proxy | quote }}
- name: NO_PROXY
  value: {{ concat (list "$(KUBERNETES_SERVICE_HOST)" "kubernetes.default.svc" ".svc" ".cluster.local" "localhost" "127.0.0.1") $root.Values.proxy.noProxy | join "," | quote }}
{{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
