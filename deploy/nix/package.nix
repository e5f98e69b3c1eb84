# A package for Nix, built from this checkout: the command line, and on Linux the edge.
#
#   nix-build -E '(import <nixpkgs> { }).callPackage ./deploy/nix/package.nix { }'
{
  lib,
  stdenv,
  rustPlatform,
  cmake,
  installShellFiles,
}:

let
  workspace = (lib.importTOML ../../Cargo.toml).workspace.package;
  packages = [ "devanture" ] ++ lib.optional stdenv.hostPlatform.isLinux "devanture-edge";
in
rustPlatform.buildRustPackage {
  pname = "devanture";
  inherit (workspace) version;

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  cargoBuildFlags = lib.concatMap (name: [ "--package" name ]) packages;

  nativeBuildInputs = [
    cmake
    installShellFiles
  ];
  # It is for the libraries in C that crates build, not for this package.
  dontUseCmakeConfigure = true;

  # They start browsers and servers, and have a script of their own: ./test.
  doCheck = false;

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    for shell in bash fish zsh; do
      $out/bin/devanture completions $shell > devanture.$shell
    done
    installShellCompletion --cmd devanture --bash devanture.bash --fish devanture.fish --zsh devanture.zsh
  '';

  meta = {
    description = "Puts a front-end in production with one push";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "devanture";
    platforms = lib.platforms.unix;
  };
}
