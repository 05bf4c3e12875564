// The token of a set-up link stands behind the #, which browsers send to nobody.
document.querySelector("#setup [name=token]").value = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
