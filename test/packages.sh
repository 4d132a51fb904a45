# shellcheck shell=bash
# For the set-up scripts: what is missing from Debian, and Debian's sources.

# install_packages PACKAGE...
install_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"
}

# source_package NAME DIRECTORY: unpacks the source of NAME below DIRECTORY
source_package() {
  local work=$2 apt
  source_lists "$work"
  apt=(apt-get -q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources" -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$work" && "${apt[@]}" source "$1")
}

# source_lists DIRECTORY: the machine's own package sources for its release, with deb turned into
# deb-src
source_lists() {
  local release file
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir -p "$1/sources" "$1/lists/partial" "$1/archives/partial"
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    sed '/^[[:space:]]*#/d' "$file" | awk -v release="$release" 'BEGIN { RS = ""; ORS = "\n\n" } $0 ~ "Suites:[^\n]*" release' |
      sed -E 's/^Types:.*/Types: deb-src/' >"$1/sources/$(basename "$file")"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    grep -E "^deb .* $release" "$file" | sed 's/^deb /deb-src /' >"$1/sources/$(basename "$file" .list).list" || true
  done
  find "$1/sources" -empty -type f -delete
}

# unpack_packages ARCHITECTURE DIRECTORY PACKAGE...: unpacks packages of the machine's release, for
# an architecture as Debian names it, and all that they depend on. Nothing is installed, and no root
# is needed.
unpack_packages() {
  local architecture=$1 directory=$2 work=$2/apt options file
  shift 2
  mkdir -p "$directory"
  source_lists "$work"
  sed -i 's/^Types: deb-src/Types: deb/; s/^deb-src /deb /' "$work"/sources/*
  : >"$work/status" # nothing counts as installed, so that everything needed is downloaded
  options=(-q -y -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources" -o "Dir::State::Lists=$work/lists"
    -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work" -o APT::Sandbox::User= -o Debug::NoLocking=1
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o Acquire::Retries=3)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" --no-install-recommends --download-only install "$@"
  for file in "$work"/archives/*.deb; do dpkg -x "$file" "$directory"; done
  rm -rf "$work"
}
