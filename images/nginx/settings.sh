# shellcheck shell=bash
# The settings of the nginx container, and functions that write nginx's files. Source it after environment.sh: it checks the settings at
# once. docs/reference/the-split.md explains each setting.

names=()

# setting NAME DEFAULT REGEX MEANING: an empty value means the default; any other value must match REGEX.
setting() {
    names+=("$1")
    [[ ${!1-} ]] || declare -g "$1=$2"
    require_match "$1" "$3" "$4"
}

# choice NAME DEFAULT OTHER...: one of these words.
choice() {
    local words=${*:2}
    local listed=${words// /, }
    setting "$1" "$2" "${words// /|}" "it must be ${listed%, *} or ${listed##*, }"
}

# whole NAME DEFAULT LOWEST HIGHEST: a number in this range.
whole() {
    setting "$1" "$2" '[0-9]{1,5}' "it must be a whole number from $3 to $4"
    ((10#${!1} >= $3 && 10#${!1} <= $4)) || require_match "$1" '' "it must be a whole number from $3 to $4"
}

# The image has no Python, so sluice_stack's table can't be used here. This repeats its rows for nginx. tests/config compares the names,
# the defaults and the accepted values of both.
byte='(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])'
ipv4="$byte(\.$byte){3}"
group='[0-9A-Fa-f]{1,4}'
ipv6="(($group:){7}$group|(($group:){0,6}$group)?::(($group:){0,6}$group)?)"
network="($ipv4(/([12]?[0-9]|3[0-2]))?|$ipv6(/([1-9]?[0-9]|1[01][0-9]|12[0-8]))?)"
host="([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[$ipv6\])"
asgi_prefix='(/(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*)+/'
port='([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])'

setting SITE_URL http://localhost:8080 "https?://$host(:$port)?/*" \
    'it must be http:// or https://, a host and, where needed, a port, such as https://sluice.example.org'
setting URL_PREFIX '' '(/(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*)*' \
    'it must be empty or a path such as /catmaid: a leading slash, none at the end, of letters, digits and . _ ~ -'
setting ASGI_PREFIXES /channels/ "$asgi_prefix( +$asgi_prefix)*" \
    'it must be paths such as /channels/ /ws/, separated by spaces: a slash at both ends, of letters, digits and . _ ~ -'
choice EXPOSE_BACKEND no yes
choice LOG_LEVEL info debug warning error
setting HEALTH_ALLOW 127.0.0.0/8 "$network([ ,]+$network)*" 'it must be networks such as 127.0.0.0/8, separated by spaces'
choice MONITORING no yes
setting METRICS_ALLOW 127.0.0.0/8 "$network([ ,]+$network)*" 'it must be networks such as 127.0.0.0/8, separated by spaces'
setting PROMETHEUS_ADDRESS prometheus:9090 "$host:$port" 'it must be a host and a port, such as prometheus:9090'
setting WSGI_ADDRESS wsgi:8000 "$host:$port" 'it must be a host and a port, such as wsgi:8000'
setting ASGI_ADDRESS asgi:8001 "$host:$port" 'it must be a host and a port, such as asgi:8001'
setting MAX_BODY_SIZE 1m '[1-9][0-9]{0,5}[km]?' 'it must be a size such as 512k or 1m'
choice PUBLIC_MEDIA no yes
whole MAX_CLIENTS 5000 1 32000 # each takes two connections, and nginx may open 65536 files
whole CHANNELS_PER_ADDRESS 5000 1 32000
whole CHANNELS_PER_ADDRESS_SECOND 200 1 9999
choice TLS off self-signed own
setting HTTPS_PORT '' "($port)?" 'it must be a port, from 1 to 65535'

refuse_unknown "${names[@]}"
[[ $TLS == off || $HTTPS_PORT ]] || refuse "TLS=$TLS needs HTTPS_PORT, the published port of HTTPS: write both to .env, or run make up TLS=$TLS"
[[ $TLS != off || ! $HTTPS_PORT ]] || refuse "HTTPS_PORT=$HTTPS_PORT needs TLS=self-signed or TLS=own: write both to .env, or neither"
[[ $TLS == off || $SITE_URL == https:* ]] || refuse "SITE_URL=$SITE_URL must begin with https:// where TLS=$TLS"

# Updates and the health check are below /channels/. No path may be Daphne's twice, or Daphne's and nginx's.
read -ra asgi_prefixes <<< "$ASGI_PREFIXES"
ASGI_PREFIXES=${asgi_prefixes[*]}
[[ " $ASGI_PREFIXES " == *' /channels/ '* ]] || require_match ASGI_PREFIXES '' 'it must be a list with /channels/, where updates are'
taken=(/static/ /media/ /protected-media/ /monitoring/)
for path in "${asgi_prefixes[@]}"; do
    for other in "${taken[@]}"; do
        [[ $path != "$other"* && $other != "$path"* ]] ||
            require_match ASGI_PREFIXES '' "it must be a list of paths that don't overlap, not $path beside $other"
    done
    taken+=("$path")
done

# The name of the site, without scheme and port.
site_name=${SITE_URL#*://}
site_name=${site_name%%/*}
[[ $site_name =~ ^(.*):[0-9]+$ ]] && site_name=${BASH_REMATCH[1]}

# A client needs two connections, its own and the one to Daphne. The rest is for files, logs and pages.
connections=$((2 * MAX_CLIENTS + 512))

# main_settings: the directives outside http { }. nginx fails under load if it may have more connections than open files.
main_settings() {
    local files level
    files=$(ulimit -Sn)
    case $LOG_LEVEL in
        debug) level=info ;;
        info) level=notice ;;
        warning) level=warn ;;
        error) level=error ;;
    esac
    printf 'error_log stderr %s;\n' "$level"
    printf 'events { worker_connections %s; }\n' "$((connections < files ? connections : files))"
}

# place: the template on standard input with its values. @NAME@ is a setting, or derived from settings.
place() {
    local text name network
    local -A values=([SCHEME]=\$scheme [RESOLVERS]=$(resolvers) [NAMES]=$site_name [ALLOWED]='' [SITE]=$SITE_URL [LISTEN_TLS]='')
    values+=([METRICS_SERVER]='' [MONITORING_PAGE]='' [MEDIA_PAGE]='')
    for name in "${names[@]}"; do
        values[$name]=${!name}
    done
    # Clients use https, either to this nginx or to a proxy in front of it.
    [[ $SITE_URL == https:* ]] && values[SCHEME]=https
    [[ $TLS == off ]] || values[LISTEN_TLS]='include container/tls.conf;'
    [[ $PUBLIC_MEDIA == no ]] || values[MEDIA_PAGE]='include container/public-media.conf;'
    while [[ ${values[SITE]} == */ ]]; do values[SITE]=${values[SITE]%/}; done
    for network in ${HEALTH_ALLOW//,/ }; do
        values[ALLOWED]+="$network yes; "
    done
    if [[ $MONITORING == yes ]]; then
        for network in ${METRICS_ALLOW//,/ }; do
            values[METRICS_SERVER]+="$network yes; "
        done
        values[METRICS_SERVER]="geo \$sluice_metrics_allowed { ${values[METRICS_SERVER]}}
map '' \$sluice_prometheus { default $PROMETHEUS_ADDRESS; }
map '' \$sluice_max_clients { default $MAX_CLIENTS; }
include container/metrics.conf;"
        values[MONITORING_PAGE]='include container/monitoring.conf;'
    fi
    text=$(cat)
    for name in "${!values[@]}"; do
        text=${text//"@$name@"/"${values[$name]}"}
    done
    printf '%s\n' "$text"
}

# resolvers: the name servers of this container, in nginx's syntax.
resolvers() {
    local keyword server found=()
    while read -r keyword server _; do
        [[ $keyword == nameserver && $server != *%* ]] || continue
        [[ $server == *:* ]] && server="[$server]"
        found+=("$server")
    done < /etc/resolv.conf
    printf '%s' "${found[*]:-127.0.0.11}"
}
