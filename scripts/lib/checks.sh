# shellcheck shell=bash
# Checks before anything is built: disk space, free ports, services, no stack of the same name from another folder.

# check_disk GIGABYTES: stops unless that much is free where the engine keeps its images.
check_disk() {
    local root free
    root=$(docker info --format '{{.DockerRootDir}}')
    [[ -d $root ]] || return 0 # an engine in a virtual machine: its disk can't be seen from here
    free=$(($(df -Pk "$root" | awk 'NR == 2 { print $4 }') / 1024 / 1024))
    ((free >= $1)) ||
        stop "The disk of $root has $free GB free, and $1 GB are needed: make room (\`docker system df\` shows what the engine keeps), or move the engine's data-root."
}

# check_services: stops if a service is asked for without the one that it needs. It would stay unhealthy.
check_services() {
    [[ $(setting RABBITMQ_CONTAINERS 1) != 0 || $(setting CELERY_CONTAINERS 1) == 0 ]] ||
        stop "RABBITMQ_CONTAINERS=0 needs CELERY_CONTAINERS=0: a Celery worker gets its tasks from RabbitMQ."
}

# check_port SETTING PORT PROJECT: stops if anything but PROJECT uses the port.
check_port() {
    local address port=$2 owner container
    address=$(setting HTTP_BIND 127.0.0.1)
    owner=$(listener "$address" "$port")
    container=$(docker ps --filter "publish=$port" --format '{{.Names}} {{.Label "com.docker.compose.project"}}' | head -n 1)
    [[ -n $owner && ${container#* } != "$3" ]] || return 0
    [[ $owner != docker-proxy* || -z $container ]] || owner="the container ${container% *}"
    stop "Port $port on $address is taken by $owner: stop that, or choose another port with \`make up $1=$((port < 65535 ? port + 1 : 8080))\` (permanently: a line $1=… in .env)."
}

# listener ADDRESS PORT: prints the process that listens there, or nothing. It reads /proc, since a small system has neither ss nor lsof.
listener() {
    local inode handle pid address=any
    [[ $1 =~ ^([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)$ ]] &&
        address=$(printf '%02X%02X%02X%02X' "${BASH_REMATCH[4]}" "${BASH_REMATCH[3]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}")
    # Field 4 is the state (0A: listening), 10 the inode. All zeros is every address, in /proc/net/tcp6 of IPv4 too.
    inode=$(awk -v port="$(printf ':%04X' "$2")" -v wanted="$address" '
        $4 != "0A" || substr($2, length($2) - 4) != port { next }
        { at = substr($2, 1, length($2) - 5); sub(/^0000000000000000FFFF0000/, "", at) }
        at == wanted || at ~ /^0+$/ || wanted ~ /^(0+|any)$/ { if (inode == "") inode = $10 }
        END { print inode }' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || true
    [[ $inode ]] || return 0
    handle=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null) || true
    pid=${handle#/proc/} pid=${pid%%/*}
    if [[ $pid ]]; then
        printf '%s (process %s)' "$(cat "/proc/$pid/comm")" "$pid"
    else
        printf 'another process (`sudo make up` names it)'
    fi
}

# project_name: prints the name of this folder's stack in compose.
project_name() {
    local config
    config=$(docker compose config 2>&1) || stop "Compose rejects compose.yaml with the settings in .env: $(tail -n 1 <<<"$config")"
    sed -n 's/^name: *//p' <<<"$config"
}

# check_project PROJECT: stops if another existing folder runs a stack with this name: compose would take over its data.
check_project() {
    local folder
    while IFS= read -r folder; do
        [[ $folder -ef . || ! -e $folder/compose.yaml ]] ||
            stop "The stack '$1' on this machine belongs to the folder $folder: \`make down\` there, or give this stack another name with a line COMPOSE_PROJECT_NAME=… in .env."
    done < <(docker ps -a --filter "label=com.docker.compose.project=$1" --format '{{.Label "com.docker.compose.project.working_dir"}}' | sort -u)
}
