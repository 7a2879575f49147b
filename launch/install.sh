# Sourced by demo.sh and test.sh: makes .venv in the checkout and installs the package with the extras named.
#   install_detox EXTRA[,EXTRA...]

install_detox() {
  local python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "DETOX needs Python 3.11 or newer; set PYTHON to one" >&2
    return 1
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  # A left-over build folder would put files that are gone back into the package.
  rm -rf build
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt ".[$1]"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
  rm -rf build
  PATH=$PWD/.venv/bin:$PATH
}
