# Where the peers' files lie; sourced by install, run and version.

PEERS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PEERS_OUT=$(cd "$PEERS_DIR/../.." && pwd)/target/bench/peers
PEER_NAMES=(bun ws nchan libwebsockets fastwebsockets tokio-tungstenite centrifugo)

# `bun`'s own start script is bypassed: npm may refuse to run the install script that completes it.
bun_program() {
  local program
  for program in "$PEERS_OUT"/bun/node_modules/@oven/bun-*/bin/bun; do
    if [[ -x $program ]] && "$program" --version >/dev/null 2>&1; then
      printf '%s\n' "$program"
      return
    fi
  done
  return 1
}

# A Debian package is unpacked rather than installed: that needs no root and starts no service.
# When the system has it installed anyway, its copy serves as well.
nginx_program() { first_file "$PEERS_OUT/nchan/root/usr/sbin/nginx" /usr/sbin/nginx; }

nchan_module() {
  first_file "$PEERS_OUT"/nchan/root/usr/lib/nginx/modules/ngx_nchan_module.so \
    /usr/lib/nginx/modules/ngx_nchan_module.so
}

first_file() {
  local file
  for file in "$@"; do
    if [[ -f $file ]]; then
      printf '%s\n' "$file"
      return
    fi
  done
  return 1
}
