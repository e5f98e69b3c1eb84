{{- define "devanture.edgeToml" -}}
data_dir = "/data/edge"
domain = {{ .Values.domain | quote }}
preview_domain = {{ .Values.previewDomain | quote }}

[listen]
https = "0.0.0.0:8443"
http = "0.0.0.0:8080"
admin = "0.0.0.0:8444"
public_port = {{ .Values.service.httpsPort }}
{{- if not .Values.service.http3 }}
# HTTP/3 takes UDP: a port of the container, the service and the network policy beside those called "https".
http3 = false
{{- end }}

[tls]
mode = {{ .Values.tls.mode | quote }}
{{- if eq .Values.tls.mode "files" }}
certificate = "/tls/tls.crt"
key = "/tls/tls.key"
{{- end }}
{{- if eq .Values.tls.mode "acme" }}

[acme]
terms_agreed = {{ .Values.tls.acme.termsAgreed }}
{{- with .Values.tls.acme.contact }}
contact = [{{ range $index, $address := . }}{{ if $index }}, {{ end }}{{ printf "mailto:%s" $address | quote }}{{ end }}]
{{- end }}
{{- with .Values.tls.acme.directory }}
directory = {{ . | quote }}
{{- end }}
{{- end }}

[secrets]
key_file = "/keys/secrets.key"
{{- if .Values.cluster.enabled }}
{{- with .Values.cluster.etcd }}

[catalog]
kind = "etcd"
endpoints = [{{ range $index, $url := .endpoints }}{{ if $index }}, {{ end }}{{ $url | quote }}{{ end }}]
{{- with .prefix }}
prefix = {{ . | quote }}
{{- end }}
{{- if .clientSecret }}
ca = "/etcd/ca.crt"
cert = "/etcd/tls.crt"
key = "/etcd/tls.key"
{{- end }}
{{- end }}
{{- with .Values.cluster.bucket }}

[blobs]
kind = "s3"
bucket = {{ .name | quote }}
region = {{ .region | quote }}
{{- with .endpoint }}
endpoint = {{ . | quote }}
{{- end }}
{{- with .prefix }}
prefix = {{ . | quote }}
{{- end }}
cache_bytes_max = {{ .cacheBytesMax | quote }}
{{- end }}

# The name and the address of a node are in its environment.
[cluster]
{{- end }}
{{- with .Values.extraConfig }}

{{ . | trim }}
{{- end }}
{{ end }}
