const id = (name) => document.getElementById(name)
const show = (text) => { id("e").textContent = text }
const post = async (path, body) => {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })
  const value = await answer.json()
  if (!answer.ok) throw new Error(value.hint ? value.detail + " " + value.hint : value.detail)
  return value
}
// The same place again, now with the session; never an address that a link could name.
const again = () => location.replace(location.href.split("#")[0])
const enter = async (body) => {
  show("")
  for (const button of document.querySelectorAll("button")) button.disabled = true
  try {
    await post("/v1/session", await body())
    again()
  } catch (error) {
    show(error.message)
  } finally {
    for (const button of document.querySelectorAll("button")) button.disabled = false
  }
}
id("a").addEventListener("submit", (event) => {
  event.preventDefault()
  enter(() => ({ account: id("n").value, password: id("p").value }))
})
id("t").addEventListener("submit", (event) => {
  event.preventDefault()
  enter(() => ({ token: id("s").value.trim() }))
})
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0))
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")
const passkey = async () => {
  const made = await post("/v1/session/challenge", { purpose: "login" })
  const publicKey = { challenge: bytes(made.challenge), rpId: made.rp, userVerification: "required" }
  const shown = await navigator.credentials.get({ publicKey })
  const { authenticatorData, clientDataJSON, signature, userHandle } = shown.response
  return {
    passkey: {
      id: shown.id,
      authenticator_data: text(authenticatorData),
      client_data_json: text(clientDataJSON),
      signature: text(signature),
      user_handle: userHandle ? text(userHandle) : undefined
    }
  }
}
id("k").hidden = !window.PublicKeyCredential
id("k").addEventListener("click", () => enter(passkey))
// Behind a link from another site a browser leaves the cookie out (SameSite=Strict): there may be a session.
const last = Number(sessionStorage.getItem("again"))
if (Date.now() - last > 10000) {
  fetch("/v1/session").then(async (answer) => {
    // Unread, the answer would stay under way.
    await answer.text()
    if (!answer.ok) return
    sessionStorage.setItem("again", String(Date.now()))
    again()
  }, () => {})
}
