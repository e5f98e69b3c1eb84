# A formula for Homebrew, which builds the command line from the sources of a release, and on Linux the edge, too.
# For a tap: fill in what stands between @, the address and the SHA-256 digest of the release's source archive.
class Devanture < Formula
  desc "Puts a front-end in production with one push"
  homepage "@HOMEPAGE@"
  url "@SOURCE_URL@"
  sha256 "@SOURCE_SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "cmake" => :build
  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "uploader")
    system "cargo", "install", *std_cargo_args(path: "edge") if OS.linux?
    generate_completions_from_executable(bin/"devanture", "completions")
  end

  test do
    assert_match "devanture #{version}", shell_output("#{bin}/devanture --version")
    (testpath/"index.html").write "<h1>Plants</h1>"
    system bin/"devanture", "init", "--app", "plants"
    system bin/"devanture", "check"
  end
end
