# Ends all servers that run in the folder $1 (without links in its path), then removes it. Ends with status $2.
trap '' INT TERM HUP
folder=$1
status=$2

# The ids of the servers. By where they run: an id alone may have become somebody else's.
servers() {
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd" 2>/dev/null) in
      "$folder"/*) ;;
      *) continue ;;
    esac
    case $(cat "$process/comm" 2>/dev/null) in
      stoke | etcd | redis-server | setpriv) echo "KILL ${process#/proc/}" ;;
      # An immediate shutdown: SIGKILL would leave a piece of shared memory behind.
      postgres | initdb) echo "QUIT ${process#/proc/}" ;;
    esac
  done
}

tries=0
while [ $tries -lt 100 ]; do
  tries=$((tries + 1))
  left=$(servers)
  if [ -z "$left" ]; then
    rm -rf -- "$folder" 2>/dev/null
    [ -e "$folder" ] || exit "$status"
  else
    echo "$left" | while read -r signal id; do kill -s "$signal" "$id" 2>/dev/null; done
  fi
  sleep 0.1
done
echo "could not end all servers in $folder" >&2
exit 1
