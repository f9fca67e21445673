# Kept by runtime/pods_folder.py beside the pods and their nginx. $1: the folder of their sockets.
# Standard input is a pipe whose only writer is `voice pods`. Lines: "NAME PID" as it starts nginx or a pod, "leaving PID"
# when it has told a pod to drain, "gone PID" when one has ended. End of file, however it came to its end: the pods drain,
# then nginx and the folder go.
PATH=/usr/bin:/bin
folder=$1
pods=
told= # to drain; a second SIGTERM would end their calls
nginx=
without() {
    rest=
    for one in $2; do
        [ "$one" = "$1" ] || rest="$rest $one"
    done
    echo "$rest"
}
while read -r word pid; do
    case $word in
        nginx) nginx=$pid ;;
        leaving | gone)
            pods=$(without "$pid" "$pods")
            told=$(without "$pid" "$told")
            [ "$word" = leaving ] && told="$told $pid"
            [ "$nginx" = "$pid" ] && nginx=
            ;;
        *) pods="$pods $pid" ;;
    esac
done
alive() {
    kill -0 "$1" 2>/dev/null || return 1
    # A zombie is gone, though its id lasts until the machine's first process reaps it.
    [ -r "/proc/$1/stat" ] || return 0
    read -r _ _ state _ <"/proc/$1/stat"
    [ "$state" != Z ]
}
for pid in $pods; do
    kill -TERM "$pid" 2>/dev/null
done
for pid in $pods $told; do
    while alive "$pid"; do
        sleep 0.2 # a drain has an end of its own
    done
done
[ -n "$nginx" ] && kill -TERM "$nginx" 2>/dev/null
rm -rf -- "$folder"
