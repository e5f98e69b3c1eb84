// A single page application: every path is index.html, and its pages are loaded when they are visited.
import { Component } from "@angular/core";
import { bootstrapApplication } from "@angular/platform-browser";
import { provideRouter, RouterLink, RouterOutlet, withComponentInputBinding } from "@angular/router";

@Component({
  selector: "app-root",
  imports: [RouterLink, RouterOutlet],
  template: `
    <nav>
      <a routerLink="/">Home</a>
      <a routerLink="/plants">Plants</a>
      <a routerLink="/about">About</a>
    </nav>
    <main><router-outlet /></main>
  `,
})
class App {}

const routes = [
  { path: "", loadComponent: () => import("./home") },
  { path: "plants", loadComponent: () => import("./list") },
  { path: "plants/:name", loadComponent: () => import("./plant") },
  { path: "about", loadComponent: () => import("./about") },
];
bootstrapApplication(App, { providers: [provideRouter(routes, withComponentInputBinding())] });
