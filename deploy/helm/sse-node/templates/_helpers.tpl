{{- define "sse-node.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sse-node.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sse-node.labels" -}}
{{ include "sse-node.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Seconds in which a full pod closes all its streams. */}}
{{- define "sse-node.drainSeconds" -}}
{{ divf (float64 .Values.maxStreams) (float64 .Values.drain.rate) | ceil | int }}
{{- end }}

{{/* --timeout-graceful-shutdown: the node keeps 2 s of it for the last bytes and for Redis. */}}
{{- define "sse-node.shutdownSeconds" -}}
{{ add .Values.drain.delaySeconds (include "sse-node.drainSeconds" .) 5 }}
{{- end }}

{{/* Kubernetes kills at its end: later than the node gives up itself. */}}
{{- define "sse-node.graceSeconds" -}}
{{ add (include "sse-node.shutdownSeconds" .) 5 }}
{{- end }}

{{- define "sse-node.targetStreams" -}}
{{ div (mul .Values.maxStreams .Values.autoscaling.targetPercent) 100 }}
{{- end }}

{{/* At most a pod for as long as a pod takes to drain and another to become ready. */}}
{{- define "sse-node.scaleBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleUpWindowSeconds }}
  selectPolicy: Max
  policies:
    - { type: Percent, value: 100, periodSeconds: 30 }
    - { type: Pods, value: 2, periodSeconds: 30 }
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownWindowSeconds }}
  selectPolicy: Max
  policies:
    - { type: Pods, value: 1, periodSeconds: {{ min 1800 (add (include "sse-node.graceSeconds" .) .Values.minReadySeconds 60) }} }
{{- end }}

{{- define "sse-node.checks" -}}
{{- if not (or .Values.redis.url .Values.redis.existingSecret) }}{{ fail "redis: expected url or existingSecret" }}{{ end }}
{{- if and .Values.redis.url .Values.redis.existingSecret }}{{ fail "redis: expected one of url and existingSecret" }}{{ end }}
{{- if and (eq .Values.auth.mode "jwt") (not (or .Values.auth.jwt.existingSecret .Values.auth.jwt.jwksUrl)) }}{{ fail "auth.jwt: expected existingSecret or jwksUrl" }}{{ end }}
{{- if and (eq .Values.auth.mode "proxy") (not (index .Values.settings "forwarded-allow-ips")) }}{{ fail "settings.forwarded-allow-ips: expected the addresses of the proxy, whose headers name the user with auth.mode proxy" }}{{ end }}
{{- if gt (int (include "sse-node.shutdownSeconds" .)) 3600 }}{{ fail (printf "drain: %s s for a full pod; expected at most 3600: a higher rate, or fewer maxStreams" (include "sse-node.shutdownSeconds" .)) }}{{ end }}
{{- if and (ne .Values.autoscaling.kind "none") (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}{{ fail "autoscaling: expected minReplicas up to maxReplicas" }}{{ end }}
{{- if and .Values.metrics.serviceMonitor.enabled (ne .Values.auth.mode "none") (not .Values.metrics.serviceMonitor.keySecret) }}{{ fail "metrics.serviceMonitor.keySecret: expected a Secret with an API key that has the right observe" }}{{ end }}
{{- if and .Values.metrics.serviceMonitor.keySecret (not .Values.auth.apiKeys.existingSecret) }}{{ fail "auth.apiKeys.existingSecret: expected the file of keys, for metrics.serviceMonitor.keySecret" }}{{ end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}{{ fail "ingress.host: expected the name of the site" }}{{ end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}{{ fail "gateway.parentRefs: expected the gateway" }}{{ end }}
{{- if and .Values.istio.enabled (not .Values.istio.hosts) }}{{ fail "istio.hosts: expected the names that clients use" }}{{ end }}
{{- end }}
