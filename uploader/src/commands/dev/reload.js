// Shows what `devanture dev` has made live: loads the page again, or its stylesheets where nothing else has changed.
(() => {
  const own = document.currentScript;
  const key = 'devanture-dev';
  if (!own || window[key]) return;
  window[key] = true;
  const page = own.dataset.page;
  const folder = new URL('.', own.src);
  // What the page is of, once the stream has said it.
  let stamp;
  let source;
  let wait = 250;
  let isForbidden = false;

  // A policy that forbids the stream forbids it at the next try, too.
  document.addEventListener('securitypolicyviolation', (event) => {
    if (event.blockedURI.startsWith(folder.href)) isForbidden = true;
  });

  const reload = (next) => {
    // A page that comes from elsewhere, such as a service worker, stays as it is however often it is loaded.
    try {
      const now = `${next} ${page}`;
      if (sessionStorage.getItem(key) === now) return;
      sessionStorage.setItem(key, now);
    } catch {
      // Without a storage there is nothing to look it up in.
    }
    location.reload();
  };

  const pathOf = (link) => {
    try {
      const url = new URL(link.href);
      return url.origin === location.origin ? decodeURIComponent(url.pathname) : '';
    } catch {
      return '';
    }
  };

  // Puts each stylesheet that has changed in its own place. One that no link names, as one that another imports, is not
  // found here.
  const swap = (paths, next) => {
    const links = [...document.querySelectorAll('link[rel~="stylesheet"][href]')];
    const changed = links.filter((link) => paths.includes(pathOf(link)));
    // The new bytes have another hash, which a new page names.
    if (changed.some((link) => link.integrity)) return false;
    const found = new Set(changed.map(pathOf));
    if (found.size < paths.length) return false;
    for (const link of changed) {
      const fresh = link.cloneNode();
      const url = new URL(link.href);
      url.searchParams.set(key, next);
      fresh.href = url.href;
      fresh.addEventListener('load', () => link.remove(), { once: true });
      fresh.addEventListener('error', () => reload(next), { once: true });
      link.after(fresh);
    }
    return true;
  };

  const listen = () => {
    const query = new URLSearchParams({ page });
    // By how long ago loading began the stream says whether all of it was loaded of one version.
    if (stamp) query.set('stamp', stamp);
    else query.set('age', Math.floor(performance.now()));
    source = new EventSource(`${folder.href}events?${query}`);
    source.addEventListener('open', () => {
      wait = 250;
    });
    source.addEventListener('live', (event) => {
      stamp = event.data;
    });
    source.addEventListener('reload', (event) => reload(event.data));
    source.addEventListener('styles', (event) => {
      const change = JSON.parse(event.data);
      if (swap(change.paths, change.stamp)) stamp = change.stamp;
      else reload(change.stamp);
    });
    source.addEventListener('error', () => {
      source.close();
      if (isForbidden) return;
      setTimeout(listen, wait);
      wait = Math.min(wait * 2, 4000);
    });
  };

  // A page that is kept for the way back holds no stream open.
  addEventListener('pagehide', () => source.close());
  addEventListener('pageshow', (event) => { if (event.persisted) listen(); });
  listen();
})();
