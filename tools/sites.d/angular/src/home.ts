import { Component } from "@angular/core";
import { release } from "./plants";

@Component({ template: `<h1>Plants</h1><p>This is {{ release }}.</p><img src="leaf.svg" alt="A leaf">` })
export default class Home {
  release = release;
}
