{{/*
CEL validations from files/shape.yaml, one for each object in it. Takes
  root, what (what messages begin with), resource (its plural), allow (paths that the customer allows beside),
  shape, path (as messages name it), at and old (CEL of the object and of what was there before; old may be empty),
  open and close (CEL around the check), depth.
*/}}
{{- define "pdp.shape" -}}
{{- $ := . -}}
{{- $keys := list -}}
{{- $words := list -}}
{{- $checks := list -}}
{{- $inner := list -}}
{{- range $name, $rule := .shape -}}
{{- $key := $name | trimSuffix "!" | trimSuffix "[]" -}}
{{- $required := hasSuffix "!" $name -}}
{{- $value := printf "%s['%s']" $.at $key -}}
{{- $before := "" -}}
{{- if $.old }}{{ $before = printf "%s[?'%s']" $.old $key }}{{ end -}}
{{- $path := ternary $key (printf "%s.%s" $.path $key) (empty $.path) -}}
{{- $test := "" -}}
{{- $word := $key -}}
{{- if has $path $.allow -}}
{{- else if kindIs "map" $rule -}}
{{- $list := contains "[]" $name -}}
{{- $next := dict "root" $.root "what" $.what "resource" $.resource "allow" $.allow "shape" $rule "depth" (add1 $.depth) -}}
{{- if $list -}}
{{- $each := printf "v%d" (int $.depth) -}}
{{- /* An element is known by its name. Inside one, what is unchanged as a whole is let be; looking closer would cost too much. */ -}}
{{- $known := "" -}}
{{- if and $before (hasKey $rule "name") (not (contains "filter(" $.old)) }}{{ $known = printf "%s.orValue(dyn([])).filter(x, x[?'name'].orValue('') == %s[?'name'].orValue(''))[?0]" $before $each }}{{ end -}}
{{- $_ := set $next "path" (printf "%s[]" $path) -}}
{{- $_ := set $next "at" $each -}}
{{- $_ := set $next "old" $known -}}
{{- $same := "" -}}
{{- if $known }}{{ $same = printf "%s.orValue(null) == %s || " $known $each }}{{ end -}}
{{- $_ := set $next "open" (printf "%s(!('%s' in %s) || %s.all(%s, %s" $.open $key $.at $value $each $same) -}}
{{- $_ := set $next "close" (printf "))%s" $.close) -}}
{{- else -}}
{{- $_ := set $next "path" $path -}}
{{- $_ := set $next "at" $value -}}
{{- $within := contains "filter(" $.old -}}
{{- $same := "" -}}
{{- if $within }}{{ $same = printf " || %s.orValue(null) == %s" $before $value }}{{ end -}}
{{- $_ := set $next "old" (ternary "" $before $within) -}}
{{- $_ := set $next "open" (printf "%s(!('%s' in %s)%s || " $.open $key $.at $same) -}}
{{- $_ := set $next "close" (printf ")%s" $.close) -}}
{{- end -}}
{{- $inner = append $inner $next -}}
{{- else if kindIs "slice" $rule -}}
{{- $test = printf "%s in %s" $value (toJson $rule) -}}
{{- $word = printf "%s (%s)" $key (join " or " $rule) -}}
{{- else if eq (toString $rule) "<own>" -}}
{{- $same := "" -}}
{{- if $before }}{{ $same = printf " || %s[?n].orValue('') == %s[n]" $before $value }}{{ end -}}
{{- $test = printf "%s.all(n, %s || n.startsWith('batch.kubernetes.io/') || n in ['controller-uid', 'job-name']%s)" $value (include "pdp.celOwnName" (list $.root "n")) $same -}}
{{- $word = printf "%s (its own)" $key -}}
{{- else if eq (toString $rule) "<image>" -}}
{{- $test = printf "(%s.matches('@sha256:[0-9a-f]{64}$') && %s.exists(p, %s.startsWith(p)))" $value (include "pdp.celRegistries" $.root) $value -}}
{{- $word = printf "%s (by digest, from a registry that DataPlanePolicy allowed when the chart was last installed or upgraded)" $key -}}
{{- else if and (kindIs "string" $rule) (hasPrefix "> " $rule) -}}
{{- $test = printf "%s %s" $value $rule -}}
{{- $word = printf "%s (%s)" $key $rule -}}
{{- else if and (kindIs "string" $rule) (hasPrefix "first " $rule) -}}
{{- $first := trimPrefix "first " $rule -}}
{{- $test = printf "(size(%s) > 0 && %s[0] == %s)" $value $value (toJson $first) -}}
{{- $word = printf "%s (first %s)" $key $first -}}
{{- else if not (kindIs "invalid" $rule) -}}
{{- $test = printf "%s == %s" $value (toJson $rule) -}}
{{- $word = printf "%s (%v)" $key $rule -}}
{{- end -}}
{{- if and $test $before (ne (toString $rule) "<own>") -}}
{{- $test = printf "(%s || %s.orValue(null) == %s)" $test $before $value -}}
{{- end -}}
{{- $there := printf "'%s' in %s" $key $.at -}}
{{- if and $required $test }}{{ $checks = append $checks (printf "%s && %s" $there $test) -}}
{{- else if $required }}{{ $checks = append $checks $there -}}
{{- else if $test }}{{ $checks = append $checks (printf "(!(%s) || %s)" $there $test) -}}
{{- end -}}
{{- if $required }}{{ $word = printf "%s (required)" $word | replace ") (required" ", required" }}{{ end -}}
{{- $keys = append $keys $key -}}
{{- $words = append $words $word -}}
{{- end -}}
{{- $lead := ternary "" (printf "%s." .path) (empty .path) -}}
{{- range .allow -}}
{{- $rest := trimPrefix $lead . -}}
{{- if and (hasPrefix $lead .) (not (contains "." $rest)) (not (has $rest $keys)) -}}
{{- $keys = append $keys $rest -}}
{{- $words = append $words $rest -}}
{{- end -}}
{{- end -}}
{{- $each := printf "k%d" (int .depth) -}}
{{- $before := "" -}}
{{- if .old }}{{ $before = printf " || %s[?%s].orValue(null) == %s[%s]" .old $each .at $each }}{{ end -}}
{{- $fields := printf "%s.all(%s, %s in %s%s)" .at $each $each (include "pdp.celStrings" $keys) $before }}
- expression: {{ printf "%s(%s)%s" .open (join " && " (prepend $checks $fields)) .close | replace "\"" "'" | quote }}
  message: {{ printf "%s: %s has only the fields %s" .what (.path | default "it") (join ", " $words) | quote }}
  reason: Forbidden
{{- range $inner }}
{{- include "pdp.shape" . }}
{{- end }}
{{- end }}

{{/* The shapes of kinds (plurals), as validations of one policy; its variable `old` is what was there before. */}}
{{- define "pdp.shapes" -}}
{{- $root := index . 0 -}}
{{- $shapes := $root.Files.Get "files/shape.yaml" | fromYaml -}}
{{- range $resource := index . 1 }}
{{- $shape := dict "apiVersion" nil "kind" nil "metadata" nil "status" nil }}
{{- range $name, $rule := index $shapes.objects $resource }}{{ $_ := set $shape $name $rule }}{{ end }}
{{- $open := printf "request.operation == 'DELETE' || request.resource.resource != '%s' || (" $resource }}
{{- include "pdp.shape" (dict "root" $root "what" (printf "%s of pdp-agent" $resource) "resource" $resource "allow" list "shape" $shape
    "path" "" "at" "object" "old" "variables.old" "open" $open "close" ")" "depth" 0) }}
{{- end }}
{{- end }}

{{/* A CEL literal. Members of different types stand together only as dyn. */}}
{{- define "pdp.celLiteral" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ toJson $key }}: dyn({{ include "pdp.celLiteral" $value }}){{ $first = false }}{{ end -}} }
{{- else if kindIs "slice" . -}}
[{{ range $i, $value := . }}{{ if $i }}, {{ end }}dyn({{ include "pdp.celLiteral" $value }}){{ end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* Whether a name of a label or annotation is the operator's own. Takes root and the CEL of the name. */}}
{{- define "pdp.celOwnName" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{ $name }}.startsWith('pdp-agent.dev/') || {{ $name }} in ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by', 'app.kubernetes.io/name', 'app.kubernetes.io/part-of']
{{- range $root.Values.admissionPolicies.metadataPrefixes }} || {{ $name }}.startsWith('{{ . }}'){{ end -}}
{{- end }}

{{/* Starts of images that the customer's policy allows, as a CEL list. */}}
{{- define "pdp.celRegistries" -}}
{{- $prefixes := list -}}
{{- range (include "pdp.policy" . | fromJson).registries -}}
{{- if hasSuffix "/" .prefix }}{{ $prefixes = append $prefixes .prefix }}{{ else }}{{ $prefixes = concat $prefixes (list (printf "%s/" .prefix) (printf "%s@" .prefix)) }}{{ end -}}
{{- end -}}
{{- include "pdp.celStrings" $prefixes -}}
{{- end }}
