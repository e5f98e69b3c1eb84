// What a page, or another client, uses: the functions and events of a service, and the news of a new release.

export { ServiceError, service } from "./client.js";
export { onNewVersion } from "./new_version.js";
