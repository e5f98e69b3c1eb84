import { Component } from "@angular/core";

@Component({ template: `<h1>About us</h1><p>We sell plants (release-a).</p>` })
export default class About {}
