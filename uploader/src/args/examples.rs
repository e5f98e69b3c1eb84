//! The examples below the help of each command.

pub(super) const ALL: &str = "\
Examples:
  devanture init                          write a devanture.toml for this folder
  devanture init --from netlify           … from another provider's configuration
  devanture dev                           serve it on this machine, reloading at each change
  devanture push                          put the site in production
  devanture push dist --env staging       … a given folder, in another environment
  devanture push --no-switch              upload it and look at the preview first
  devanture switch 4f2a91                 make a stored version live
  devanture rollback                      go back to the version that was live before
  devanture promote --from staging --to prod
  devanture status                        what is live, and where

Settings, the strongest first: flags, the environment, .env.APP, .env, devanture.toml.
  DEVANTURE_URL     address of the edge's admin listener   --url
  DEVANTURE_TOKEN   token of `devanture-edge token create` --token
  DEVANTURE_LOGIN   name of an account of `devanture-edge account create`, in place of a token
  DEVANTURE_PASSWORD   its password
  DEVANTURE_ID_TOKEN   identity token of a CI system, in place of both; GitHub Actions makes one by itself
  DEVANTURE_APP     app                                    --app
  DEVANTURE_ENV     environment, prod by default           --env
  DEVANTURE_CA      PEM file of CAs to trust               --ca

Exit codes: 0 done, 1 refused or failed (what was live still is), 2 wrong use or a mistake in a file,
3 the edge cannot be reached, 4 the token is missing or may not do this, 130 interrupted, 143 stopped by SIGTERM.";

pub(super) const CHECK: &str = "\
Examples:
  devanture check                         rules, links, assets, secrets, names, sizes
  devanture check dist --env staging      a given folder, as it would answer there
  devanture check --strict                … and treat warnings as errors
  devanture check --format github         annotations in a pull request
  devanture check --json | jq -r '.findings[].message'

Exits with 2 if there are mistakes. OutputStream ignore a finding, in devanture.toml:
  [check]
  ignore = [\"broken-link:/legacy/*\", \"secret:keys/test.pem\"]";

pub(super) const PUSH: &str = "\
Examples:
  devanture push                          the folder that devanture.toml names
  devanture push dist                     this folder
  devanture push site.zip                 an archive: zip, tar, tar.gz or tar.zst
  devanture push --no-switch              preview first; `devanture switch ID` makes it live
  devanture push --env staging -m 'New checkout'
  devanture push --if-live 4f2a91         only if no other push went live meanwhile
  devanture push --alias feature-x --expires 14d
                                          a preview with a lasting name, without going live
  devanture push dist --alias             … named after the branch
  devanture push --watch 60s              undo it when errors rise
  devanture push --canary 10              give it to a tenth of the visitors first
  devanture push --only front             … with the backend that is live
  devanture push --only backend --with 4f2a91
                                          … with the front of that version
  devanture push --sign ~/.ssh/id_ed25519
                                          sign the version; `devanture signers` says who has to
  devanture push --app notifier           … one of several apps of devanture.toml
  devanture push --dry-run                print the version's id; uploads nothing
  devanture push --json | jq -r .urls.preview

The folder of [server] is pushed too, all of it except .git.
Left out of the pages, with a note: .git, .env*, *.pem, *.key, .DS_Store, node_modules.
After a failed push the previous version is still live.";

pub(super) const HOSTNAMES: &str = "\
Examples:
  devanture hostnames add www.example.org              prints the DNS record to create, if one is needed
  devanture hostnames add www.example.org --canonical  the others redirect to it
  devanture hostnames add '*.example.org'              any one label
  devanture hostnames add bücher.example --env staging
  devanture hostnames remove www.example.org --dry-run";

pub(super) const PAUSE: &str = "\
Examples:
  devanture pause --message 'Back at ten.'
  devanture pause --allow /status --allow '/api/*'
  devanture resume

Visitors get 503.html of the site's root, else 5xx.html, else a page with the message.
A push while paused works, and the environment stays paused.";

pub(super) const INIT: &str = "\
Examples:
  devanture init                          for the folder that your build writes
  devanture init build                    … for this one
  devanture init --framework eleventy     … that this generator writes
  devanture init --force                  again, in place of the file that is there
  devanture init --from vercel            convert vercel.json
  devanture init --from netlify --dry-run print the result only";

pub(super) const SWITCH: &str = "\
Examples:
  devanture switch 4f2a91                 any stored version, by at least 6 characters of its id
  devanture switch 4f2a91 --env staging
  devanture switch 4f2a91 --canary 10     to a tenth of the visitors first
  devanture switch 4f2a91 --auto 5,25,50,100 --every 10m
  devanture switch 4f2a91 --if-live 91c2aa --json";

pub(super) const ROLLBACK: &str = "\
Examples:
  devanture rollback                      one back; a second time one further back
  devanture rollback 4f2a91               back to this version
  devanture rollback --if-live 91c2aa     only if nobody else was faster
  devanture rollback --dry-run            print the version, and change nothing";

pub(super) const PROMOTE: &str = "\
Examples:
  devanture promote --from staging --to prod
  devanture promote 4f2a91 --from staging --to prod    only if that is what was tested
  devanture promote --from staging --to prod --dry-run";

pub(super) const USAGE: &str = "\
Examples:
  devanture usage
  devanture usage --app shop --json | jq -r '.limits[] | select(.max and .used >= .max) | .name'

The operator of the edge sets limits for every app, and for single ones.";

pub(super) const INTEGRITY: &str = "\
Examples:
  devanture integrity
  devanture integrity --env staging --json | jq -r '.reports[].blocked'

`integrity` of devanture.toml says whether pages name hashes, and what browsers do without one.";

pub(super) const NODES: &str = "\
Examples:
  devanture nodes                         name, state, release and lag of each node
  devanture nodes --json | jq -r '.nodes[] | select(.state != \"ready\") | .name'";

pub(super) const UNPIN: &str = "\
Examples:
  devanture unpin                         what is live must reach everybody at once
  devanture unpin --env staging --json | jq .versions";

pub(super) const STATUS: &str = "\
Examples:
  devanture status
  devanture status --env staging
  devanture status --json | jq -r .version";

pub(super) const ENV: &str = "\
Examples:
  devanture env set API_URL=https://api.example.org --public   the front may read it
  devanture env set LOG_LEVEL=info --env staging
  devanture env set API_KEY --secret < key.txt                 the value is read from stdin
  pass show shop/db | devanture env set DB_PASSWORD=- --secret
  devanture env set --from .env.production --dry-run
  devanture env unset API_KEY OLD
  devanture env list --json

A change takes effect at once, without a push. A secret is sealed, and never shown again.
Public settings are at /.well-known/devanture/env.json of the environment's hostnames.";

pub(super) const TOKEN: &str = "\
Examples:
  devanture token list                                  with their last use
  devanture token create --name ci --scope push --expires 90d
  devanture token create --name ci --scope push --env staging   for one environment only
  devanture token revoke 0123456789ab                   refused from the next request on

This needs a token with the scope admin; a new token cannot do more than it.";

pub(super) const HISTORY: &str = "\
Examples:
  devanture history -n 5
  devanture history --env preview         pushes to aliases
  devanture history 4f2a91                one deploy in full: of this version, or with this id
  devanture history --all --json | jq -r '.deploys[].source.commit'";

pub(super) const ALIAS: &str = "\
Examples:
  devanture alias set feature-x 4f2a91 --expires 14d
  devanture alias list
  devanture alias delete feature-x
  devanture push --alias feature-x        push, and point the alias at the new version";

pub(super) const RESUME: &str = "\
Examples:
  devanture resume
  devanture resume --env staging --dry-run";

pub(super) const MAN: &str = "\
Examples:
  devanture man /usr/local/share/man/man1";

pub(super) const COMPLETIONS: &str = "\
Examples:
  devanture completions bash > ~/.local/share/bash-completion/completions/devanture
  devanture completions zsh > ~/.zfunc/_devanture
  devanture completions fish > ~/.config/fish/completions/devanture.fish";

pub(super) const DIFF: &str = "\
Examples:
  devanture diff 4f2a91                   what would change if this version went live
  devanture diff live feature-x           the same for an alias
  devanture diff staging prod             … between two environments
  devanture diff 91c2aa 4f2a91            … between two versions

A returning visitor has loaded all of the first version.";

pub(super) const LOCK: &str = "\
Examples:
  devanture lock --reason 'Sale until Monday'
  devanture lock --env staging
  devanture unlock

While locked, pushes store their version and print its preview without going live.
switch, promote and rollback are refused, unless the person who locked it, or an admin,
passes --force.";

pub(super) const UNLOCK: &str = "\
Examples:
  devanture unlock
  devanture unlock --env staging";

pub(super) const LOGIN: &str = "\
Examples:
  devanture login                         as the account that DEVANTURE_LOGIN names
  devanture login --oidc                  at the provider that the edge names, by a code in a browser

DEVANTURE_LOGIN is the name of an account, and DEVANTURE_PASSWORD its password;
`devanture-edge account create` makes one.

Every other command logs in by itself when these are set; this one checks that it works.";

pub(super) const WHOAMI: &str = "\
Example:
  devanture whoami";

pub(super) const LOGOUT: &str = "\
Example:
  devanture logout                        remove the stored login here, and revoke it at the edge";

pub(super) const AUDIT: &str = "\
Examples:
  devanture audit
  devanture audit --json | jq -r '.entries[].who'";
