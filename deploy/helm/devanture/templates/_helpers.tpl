{{- define "devanture.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "devanture.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "devanture.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "devanture.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "devanture.selector" -}}
app.kubernetes.io/name: {{ include "devanture.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "devanture.labels" -}}
{{ include "devanture.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "devanture.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- /* The secrets of the chart's own, or those that are there. */ -}}
{{- define "devanture.sealingKey" -}}
{{- if .Values.sealingKey.value }}{{ include "devanture.fullname" . }}-keys{{ else }}{{ .Values.sealingKey.existingSecret }}{{ end }}
{{- end }}

{{- define "devanture.bucketSecret" -}}
{{- with .Values.cluster.bucket }}
{{- if .accessKeyId }}{{ include "devanture.fullname" $ }}-bucket{{ else }}{{ .existingSecret }}{{ end }}
{{- end }}
{{- end }}

{{- /* The name and the address of a node of a cluster, which share one edge.toml. */ -}}
{{- define "devanture.identity" -}}
- name: DEVANTURE_EDGE_NODE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: DEVANTURE_EDGE_ADVERTISE
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}

{{- /* The job that Prometheus sees; its rules look for the word in it. */ -}}
{{- define "devanture.job" -}}
{{- $name := include "devanture.fullname" . }}
{{- if contains "devanture" $name }}{{ $name }}{{ else }}devanture-{{ $name }}{{ end }}
{{- end }}

{{- define "devanture.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What is the same in the container that joins and in the one that serves. */ -}}
{{- define "devanture.mounts" -}}
- {name: config, mountPath: /config, readOnly: true}
- {name: data, mountPath: /data}
- {name: keys, mountPath: /keys}
{{- end }}
