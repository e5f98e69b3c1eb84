import "../../common/site.css";
import { Link } from "gatsby";
import React from "react";

export default function Frame({ title, children }) {
  return (
    <>
      <nav>
        <Link to="/">Home</Link>
        <Link to="/plants/">Plants</Link>
        <Link to="/about/">About</Link>
      </nav>
      <main>
        <h1>{title}</h1>
        {children}
      </main>
    </>
  );
}
