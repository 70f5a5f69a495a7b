# shellcheck shell=bash
# The virtual environment of `make dev` and `make quick`, in var/.

readonly python=$PWD/var/venv/bin/python

check_python() {
    have python3 || stop "Python 3.11 or newer is needed: \`apt-get install python3 python3-venv\`."
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "$(python3 --version) is too old, 3.11 or newer is needed: put a newer python3 first on the PATH."
    # In Debian both are in the package python3-venv.
    python3 -c 'import ensurepip, venv' 2>/dev/null || stop "$(python3 --version) can't create virtual environments: \`apt-get install python3-venv\`."
}

# install_packages FILE...: installs exactly the packages in these lock files. Does nothing if neither they nor Python have changed.
install_packages() {
    local stamp=var/venv/installed-$# wanted
    wanted=$(python3 --version && sha256sum "$@")
    [[ ! -r $stamp || $(<"$stamp") != "$wanted" ]] || return 0
    step "Installing the Python packages into var/venv"
    rm -f var/venv/installed-*
    python3 -m venv --clear var/venv
    "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes "${@/#/--requirement=}" ||
        stop "The Python packages could not be installed: see the lines above, then try again."
    printf '%s\n' "$PWD"/packages/*/src >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sluice.pth"
    printf '%s\n' "$wanted" >"$stamp"
}
