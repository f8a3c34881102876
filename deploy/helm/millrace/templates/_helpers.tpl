{{/* The name of the objects. */}}
{{- define "millrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of objects that no namespace keeps apart. */}}
{{- define "millrace.clustername" -}}
{{- printf "%s-%s" .Release.Namespace (include "millrace.fullname" .) -}}
{{- end -}}

{{- define "millrace.serviceAccount" -}}
{{- $standard := ternary (include "millrace.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $standard -}}
{{- end -}}

{{- define "millrace.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{/* Seconds of a duration such as 1m30s, rounded up. */}}
{{- define "millrace.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h|d)" . -1 -}}
{{- $total = addf $total (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- ceil $total | int -}}
{{- end -}}

{{/* The providers whose functions are in this cluster: a kubeconfig would lead to another one. As JSON. */}}
{{- define "millrace.providers" -}}
{{- $own := dict -}}
{{- range $name, $provider := .Values.config.providers -}}
{{- if and (eq $provider.kind "kubernetes") (not $provider.kubeconfig) -}}
{{- $_ := set $own $name $provider -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/* "true" when a provider finds its namespaces by their labels. */}}
{{- define "millrace.clusterWide" -}}
{{- range include "millrace.providers" . | fromJson -}}
{{- if .namespaceSelector }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* The namespaces of functions that the configuration names. As JSON. */}}
{{- define "millrace.namespaces" -}}
{{- $names := list -}}
{{- range include "millrace.providers" . | fromJson -}}
{{- if not .namespaceSelector -}}
{{- $names = concat $names (.namespaces | default (list "openfaas-fn")) -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Where the providers look for profiles. As JSON. */}}
{{- define "millrace.profilesNamespaces" -}}
{{- $names := list -}}
{{- range include "millrace.providers" . | fromJson -}}
{{- $names = append $names (.profilesNamespace | default $.Release.Namespace) -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The configuration, with what depends on the release. */}}
{{- define "millrace.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $name, $provider := include "millrace.providers" . | fromJson -}}
{{- if not $provider.profilesNamespace -}}
{{- $_ := set (get $config.providers $name) "profilesNamespace" $.Release.Namespace -}}
{{- end -}}
{{- end -}}
{{- $callbacks := get $config.gateway "callbacks" | default dict -}}
{{- if not (hasKey $callbacks "internal") -}}
{{- $hosts := list -}}
{{- range list "gateway.openfaas" (printf "%s.%s" (include "millrace.fullname" .) .Release.Namespace) -}}
{{- $hosts = concat $hosts (list (splitList "." . | first) . (printf "%s.svc" .) (printf "%s.svc.cluster.local" .)) -}}
{{- end -}}
{{- $_ := set $callbacks "internal" ($hosts | uniq) -}}
{{- $_ := set $config.gateway "callbacks" $callbacks -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
