//! The examples below the help of each command.

pub(super) const ALL: &str = "\
Examples:
  devanture init                          write a devanture.toml for this folder
  devanture init --from netlify           … from another provider's configuration
  devanture dev                           look at it on this machine, with every change at once
  devanture push                          put the site in production
  devanture push dist --env staging       … a given folder, in another environment
  devanture push --no-switch              store it and look at its preview first
  devanture switch 4f2a91                 make a stored version live
  devanture rollback                      back to the version that was live before
  devanture promote --from staging --to prod
  devanture status                        what is live, and where

Settings, the strongest first: flags, the environment, .env.APP, .env, devanture.toml.
  DEVANTURE_URL     address of the edge's admin listener   --url
  DEVANTURE_TOKEN   token of `devanture-edge token create` --token
  DEVANTURE_LOGIN   name of an account of `devanture-edge account create`, in place of a token
  DEVANTURE_PASSWORD   its password
  DEVANTURE_APP     which app                              --app
  DEVANTURE_ENV     which environment, else prod           --env
  DEVANTURE_CA      a PEM file to trust                    --ca

Exit codes: 0 done, 1 refused with nothing changed, 2 wrong use or a mistake in a file,
3 the edge cannot be reached, 4 the token is missing or may not do this, 130 interrupted, 143 told to end.";

pub(super) const CHECK: &str = "\
Examples:
  devanture check                         rules, links, assets, secrets, names, sizes
  devanture check dist --env staging      a given folder, as it would answer there
  devanture check --strict                … and let doubts fail
  devanture check --format github         annotations in a pull request
  devanture check --json | jq -r '.findings[].message'

Ends with 2 where there are mistakes. To leave something unsaid, in devanture.toml:
  [check]
  ignore = [\"broken-link:/legacy/*\", \"secret:keys/test.pem\"]";

pub(super) const PUSH: &str = "\
Examples:
  devanture push                          the folder that devanture.toml names
  devanture push dist                     this folder
  devanture push site.zip                 an archive: zip, tar, tar.gz or tar.zst
  devanture push --no-switch              preview first; `devanture switch ID` makes it live
  devanture push --env staging -m 'New checkout'
  devanture push --if-live 4f2a91         only if nobody else pushed meanwhile
  devanture push --alias feature-x --expires 14d
                                          a preview with a lasting name; what is live stays
  devanture push dist --alias             … named after the branch
  devanture push --watch 60s              undo it by itself when errors rise
  devanture push --app notifier           … one of several apps of devanture.toml
  devanture push --dry-run                print the version's id; needs no edge
  devanture push --json | jq -r .urls.preview

The folder of [server] goes along: all of it as it is, but for .git.
Left out of the pages, with a word about it: .git, .env*, *.pem, *.key, .DS_Store, node_modules.
After a push that failed, the version that was live still is.";

pub(super) const HOSTNAMES: &str = "\
Examples:
  devanture hostnames add www.example.org              where DNS must prove it, the record is told
  devanture hostnames add www.example.org --canonical  the others lead to it
  devanture hostnames add '*.example.org'              any one label
  devanture hostnames add bücher.example --env staging
  devanture hostnames remove www.example.org --dry-run";

pub(super) const PAUSE: &str = "\
Examples:
  devanture pause --message 'Back at ten.'
  devanture pause --allow /status --allow '/api/*'
  devanture resume

Visitors get 503.html of the site's root, else 5xx.html, else a page with the message.
A push while paused works, and leaves the pause as it is.";

pub(super) const INIT: &str = "\
Examples:
  devanture init                          for the folder that a build has written
  devanture init build                    … for this one
  devanture init --from vercel            take over vercel.json
  devanture init --from netlify --dry-run print it instead";

pub(super) const SWITCH: &str = "\
Examples:
  devanture switch 4f2a91                 any stored version, by 6 or more of its characters
  devanture switch 4f2a91 --env staging
  devanture switch 4f2a91 --if-live 91c2aa --json";

pub(super) const ROLLBACK: &str = "\
Examples:
  devanture rollback                      back by one; a second time further back
  devanture rollback 4f2a91               back to this version
  devanture rollback --dry-run            say where to, and go nowhere";

pub(super) const PROMOTE: &str = "\
Examples:
  devanture promote --from staging --to prod
  devanture promote --from staging --to prod --dry-run";

pub(super) const STATUS: &str = "\
Examples:
  devanture status
  devanture status --env staging
  devanture status --json | jq -r .version";

pub(super) const ENV: &str = "\
Examples:
  devanture env set API_URL=https://api.example.org --public   the front may read it
  devanture env set LOG_LEVEL=info --env staging
  devanture env set API_KEY --secret < key.txt                 the value comes by stdin
  pass show shop/db | devanture env set DB_PASSWORD=- --secret
  devanture env set --from .env.production --dry-run
  devanture env unset API_KEY OLD
  devanture env list --json

A change holds at once, without a push. A secret is sealed, and never shown again.
What is public is at /.well-known/devanture/env.json of the environment's hostnames.";

pub(super) const TOKEN: &str = "\
Examples:
  devanture token list                                  with their last use
  devanture token create --name ci --scope push --expires 90d
  devanture token create --name ci --scope push --env staging   for one environment alone
  devanture token revoke 0123456789ab                   refused from the next request on

It takes a token with the scope admin, and none that is made may do more.";

pub(super) const HISTORY: &str = "\
Examples:
  devanture history -n 5
  devanture history --env preview         pushes to aliases
  devanture history 4f2a91                one deploy whole: of this version, or of this id
  devanture history --all --json | jq -r '.deploys[].source.commit'";

pub(super) const ALIAS: &str = "\
Examples:
  devanture alias set feature-x 4f2a91 --expires 14d
  devanture alias list
  devanture alias delete feature-x
  devanture push --alias feature-x        push, and point the alias at what was pushed";

pub(super) const RESUME: &str = "\
Examples:
  devanture resume
  devanture resume --env staging --dry-run";

pub(super) const COMPLETIONS: &str = "\
Examples:
  devanture completions bash > ~/.local/share/bash-completion/completions/devanture
  devanture completions zsh > ~/.zfunc/_devanture
  devanture completions fish > ~/.config/fish/completions/devanture.fish";

pub(super) const DIFF: &str = "\
Examples:
  devanture diff 4f2a91                   what would change if this version went live
  devanture diff live feature-x           the same of an alias
  devanture diff staging prod             … between two environments
  devanture diff 91c2aa 4f2a91            … between two versions

A returning visitor is one who has seen all of the first version.";

pub(super) const LOCK: &str = "\
Examples:
  devanture lock --reason 'Sale until Monday'
  devanture lock --env staging
  devanture unlock

While locked, pushes store their version and give its preview, and what is live stays.
switch, promote and rollback are refused; whoever locked it, or an admin, may pass --force.";

pub(super) const UNLOCK: &str = "\
Examples:
  devanture unlock
  devanture unlock --env staging";

pub(super) const LOGIN: &str = "\
Example:
  devanture login                         as the account that DEVANTURE_LOGIN names

DEVANTURE_LOGIN is the name of an account, and DEVANTURE_PASSWORD its password;
`devanture-edge account create` makes one.

Every other command logs in by itself where these are set; this only says whether it works.";

pub(super) const LOGOUT: &str = "\
Example:
  devanture logout                        what was kept is forgotten here and refused by the edge";

pub(super) const AUDIT: &str = "\
Examples:
  devanture audit
  devanture audit --json | jq -r '.entries[].who'";
