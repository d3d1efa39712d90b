# bash completion for gantry; made by `gantry completion bash`
_gantry()
{
	local cur=${COMP_WORDS[COMP_CWORD]} cmd= words= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || { cmd=${COMP_WORDS[i]}; break; }
	done
	local global='--url --ca --token --token-file --json --verbose --help'
	local commands='deploy ls get call calls schedule webhook logs ps rm events explain image bundle nodes node providers gpu simulate doctor version help completion'
	case $cmd in
	'') words=$commands ;;
	deploy) words='--file --image --base --pull --port --socket --env --volume --tmpfs --workdir --user --memory --cpu --disk --gpu --pids --min --max --concurrency --idle --ready --ready-timeout --model --public --dry-run --wait --timeout --create --if-match' ;;
	ls) words='--quiet' ;;
	get) words='--spec --effective' ;;
	call) words='--request --data --header --async --key --timeout' ;;
	calls) words='--state --attempt --printed --wait' ;;
	schedule) words='--function --cron --zone --every --catch-up --cold --data --path --method --priority --deadline --file --count --from' ;;
	webhook) words='--overlap' ;;
	logs) words='--follow --tail --since --replica --stream --plain' ;;
	ps) words='--all' ;;
	rm) words='--force' ;;
	events) words='--follow --tail' ;;
	explain) words='--tail' ;;
	image) words='--all --node' ;;
	node) words='--wait --deadline --force --ttl --node --driver-root --proc' ;;
	gpu) words='--context --sequences --kv-dtype --tensor-parallel --overhead' ;;
	simulate) words='--nodes --pods --policy --inflate --seed --gpus --gateways --hours --min --max --idle --fail --repeat --copies --churn --workload --cold --cold-factor --slots --slo --skip --price --svg --record --learned --candidate --time' ;;
	doctor) words='--state' ;;
	version) words='--client' ;;
	esac
	case $cmd,$cur in
	*,-*) words+=" $global" ;;
	help,*) words=$commands ;;
	completion,*) words=bash ;;
	get,* | call,* | logs,* | ps,* | rm,* | events,*) words=$(gantry ls --quiet 2>/dev/null) ;;
	deploy,*) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _gantry gantry
