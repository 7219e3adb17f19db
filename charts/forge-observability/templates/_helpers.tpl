{{- define "forge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "forge.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "forge.fullname" .) "default") -}}
{{- end -}}

{{- /* As the operator names it (forge_operator.leader.lease_name). */ -}}
{{- define "forge.lease" -}}
forge-operator{{ with .Values.operatorClass }}-{{ . }}{{ end }}
{{- end -}}

{{- define "forge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "forge.labels" -}}
{{ include "forge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "forge.image" -}}
{{- $image := index .root.Values.images .name -}}
{{- with .root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- /* What the operator may do in the namespaces whose stacks it reconciles: the verbs that its code uses, no more.
   A server-side apply needs patch, and create for what is not there yet. */ -}}
{{- define "forge.rules" -}}
- apiGroups: [observability.forge.dev]
  resources: [observabilitystacks]
  verbs: [get, list, watch, patch]
- apiGroups: [observability.forge.dev]
  resources: [observabilitystacks/status]
  verbs: [update]
# Owner references that block the owner's deletion need it where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [observability.forge.dev]
  resources: [observabilitystacks/finalizers]
  verbs: [update]
# Secrets: made once (create), those that stacks name are read (get); none is ever changed or deleted.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* The metrics' Service, and so the job by which Prometheus knows the operator. */ -}}
{{- define "forge.metricsName" -}}
{{ include "forge.fullname" . }}-metrics
{{- end -}}
