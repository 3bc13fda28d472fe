{{- define "dicom-adapter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dicom-adapter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "dicom-adapter.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dicom-adapter.selector" -}}
app.kubernetes.io/name: {{ include "dicom-adapter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dicom-adapter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "dicom-adapter.selector" . }}
{{- end }}

{{- define "dicom-adapter.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "dicom-adapter.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dicom-adapter.configMap" -}}
{{- default (include "dicom-adapter.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "dicom-adapter.claim" -}}
{{- default (include "dicom-adapter.fullname" .) .Values.storage.existingClaim }}
{{- end }}

{{- define "dicom-adapter.tokenSecret" -}}
{{- if .Values.api.token.existingSecret }}
{{- .Values.api.token.existingSecret }}
{{- else if .Values.api.token.value }}
{{- include "dicom-adapter.fullname" . }}
{{- else if not .Values.api.anonymous }}
{{- fail "the REST API needs a token: set api.token.existingSecret or api.token.value, or say api.anonymous=true" }}
{{- end }}
{{- end }}

{{- define "dicom-adapter.hostNames" -}}
{{- $service := printf "%s-api" (include "dicom-adapter.fullname" .) }}
{{- $inNamespace := printf "%s.%s" $service .Release.Namespace }}
{{- $names := list $service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace) }}
{{- concat $names .Values.api.hostNames | join "," }}
{{- end }}
