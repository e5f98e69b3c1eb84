// The invitation goes from the address into the form, and out of the history of the browser.
if (location.hash.length > 1) {
  document.forms[0].elements.invitation.value = location.hash.slice(1)
  history.replaceState(null, "", location.pathname)
}
