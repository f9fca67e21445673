# Kept by db/embedded.py beside its server. $1: the server's temporary folder.
# Standard input is a pipe whose only writer is the launcher. Lines: "process PID" as it starts one, "stopped" when
# it has stopped it. End of file, however the launcher came to its end: stop what runs, and remove the folder.
PATH=/usr/bin:/bin
folder=$1
process=
while read -r word value; do
    case $word in
        process) process=$value ;;
        stopped) process= ;;
    esac
done
alive() {
    kill -0 "$1" 2>/dev/null || return 1
    # A zombie is gone, though its id lasts until the machine's first process reaps it.
    [ -r "/proc/$1/stat" ] || return 0
    read -r _ _ state _ <"/proc/$1/stat"
    [ "$state" != Z ]
}
if [ -n "$process" ]; then
    # A fast shutdown keeps a persistent server's data tidy; the launcher's successor waits for it.
    kill -INT "$process" 2>/dev/null
    for signal in '' '' '' '' '' '' '' '' '' '' '' '' '' '' '' QUIT '' '' '' '' '' '' '' '' '' KILL; do
        alive "$process" || break
        [ -n "$signal" ] && kill "-$signal" "$process" 2>/dev/null
        sleep 0.1
    done
fi
for attempt in 1 2 3 4 5; do
    rm -rf -- "$folder" 2>/dev/null
    [ -e "$folder" ] || break
    sleep 0.2
done
