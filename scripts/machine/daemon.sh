# shellcheck shell=bash
# Starts the engine's daemon, with systemd or, without systemd, as a plain process.

readonly daemon_log=/var/log/sluice-dockerd.log
daemon_log_start=0

# start_daemon: returns when the engine answers.
start_daemon() {
    is_root || stop "Docker Engine is installed but isn't running, and starting it needs root: run \`sudo make up\`, or \`sudo systemctl start docker\`."
    step "Starting the engine's daemon"
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker.service || stop "systemd could not start docker.service: see \`journalctl -u docker.service\`."
        await_engine || stop "The engine doesn't answer a minute after systemd started it ($engine_error): see \`journalctl -u docker.service\`."
    else
        daemon_log_start=$(stat --format %s "$daemon_log" 2>/dev/null) || daemon_log_start=0
        say "There is no systemd, so make starts dockerd itself; its log is $daemon_log. After a reboot, \`make up\` starts it again."
        launch_dockerd
        await_engine || stop "dockerd was started, but doesn't answer: $(daemon_error) (all of it: $daemon_log)."
    fi
}

# launch_dockerd: starts dockerd without make's process group, terminal and open files, so that it outlives make.
launch_dockerd() (
    local handle
    for handle in "/proc/$BASHPID/fd/"*; do
        handle=${handle##*/}
        ((handle <= 2)) || eval "exec $handle>&-" 2>/dev/null || true
    done
    exec </dev/null >>"$daemon_log" 2>&1
    cd /
    setsid nohup dockerd &
)

# await_engine: waits until the engine answers, for at most a minute. Fails earlier if dockerd has ended.
await_engine() {
    local start=$SECONDS
    until engine_answers; do
        ((SECONDS < start + 60)) || return 1
        if ((SECONDS > start + 5)) && ! grep -qsE '^[0-9]+ \(dockerd\) [^Z]' /proc/[0-9]*/stat; then return 1; fi
        sleep 0.5
    done
    say "Docker Engine $engine_version answers."
}

# daemon_error: prints why dockerd ended: its last error since this start, or else its last line.
daemon_error() {
    local written line
    written=$(tail -c "+$((daemon_log_start + 1))" "$daemon_log")
    line=$(grep -E 'level=(error|fatal)|failed to |fatal error:|denied' <<<"$written" | tail -n 1) || line=$(tail -n 1 <<<"$written")
    printf '%s' "${line:-its log is empty}"
}
